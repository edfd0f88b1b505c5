'use strict';
'require dom';
'require fs';
'require poll';
'require uci';
'require ui';
'require view';

function ms(value) {
	return value == null ? '-' : '%.1f ms'.format(value);
}

function bytes(value) {
	return '%1024mB'.format(value || 0);
}

function duration(seconds) {
	return seconds < 60 ? '%d s'.format(seconds) : '%t'.format(seconds);
}

function table(title, columns, rows, placeholder) {
	var head = E('tr', { 'class': 'tr table-titles' }, columns.map(function(column) {
		return E('th', { 'class': 'th' }, [ column ]);
	}));
	var body = rows.map(function(row) {
		return E('tr', { 'class': 'tr' }, row.map(function(cell, i) {
			return E('td', { 'class': 'td', 'data-title': columns[i] }, [ cell ]);
		}));
	});
	if (!body.length)
		body = [ E('tr', { 'class': 'tr placeholder' }, [ E('td', { 'class': 'td' }, [ E('em', [ placeholder ]) ]) ]) ];
	return E('div', { 'class': 'cbi-section' }, [
		E('h4', [ title ]),
		E('table', { 'class': 'table' }, [ head ].concat(body))
	]);
}

function renderSummary(status) {
	var attached = status['switch'].attached;
	return E('p', [
		E('span', { 'class': 'ifacebadge' }, [ status.interface, ' \u00b7 ', status.id ]),
		' ',
		E('strong', { 'style': attached ? 'color:green' : 'color:red' },
			[ attached ? _('attached') : _('no answer from the Switch') ]),
		' \u00b7 ', status.addresses.join(', '),
		' \u00b7 ', _('Switch'), ' ', status['switch'].locator || '-', ' (', ms(status['switch'].rtt_ms), ')',
		' \u00b7 ', _('up for'), ' ', duration(status.uptime_seconds),
		' \u00b7 ', _('certificate: %d days left').format(status.certificate.days_left)
	]);
}

function renderPaths(status) {
	return table(_('Paths'), [ _('Uplink'), _('State'), _('RTT'), _('Loss'), _('Sent'), _('Received') ],
		status.paths.map(function(path) {
			return [
				path.active ? E('strong', [ path.uplink || _('any') ]) : (path.uplink || _('any')),
				path.state + (path.active ? ', ' + _('in use') : '') + (path.metered ? ', ' + _('metered') : ''),
				ms(path.rtt_ms),
				path.loss == null ? '-' : '%.1f %%'.format(path.loss * 100),
				bytes(path.tx_bytes),
				bytes(path.rx_bytes)
			];
		}), _('No uplink reaches the Switch'));
}

function renderPeers(status) {
	return table(_('Peers'), [ _('Node'), _('Addresses and networks'), _('RTT'), _('Cipher'), _('Sent'), _('Received') ],
		status.peers.map(function(peer) {
			return [ peer.id, peer.prefixes.join(', '), ms(peer.rtt_ms), peer.cipher, bytes(peer.tx_bytes), bytes(peer.rx_bytes) ];
		}), _('No conversation with another node'));
}

function renderHandovers(status) {
	return table(_('Last handovers'), [ _('When'), _('From'), _('To'), _('Cause'), _('Gap out'), _('Gap back') ],
		status.handovers.slice(-5).reverse().map(function(move) {
			return [
				new Date(move.at * 1000).toLocaleString(),
				move.before_uplink || _('any'), move.uplink || _('any'), move.cause,
				ms(move.gap_out_ms), ms(move.gap_back_ms)
			];
		}), _('None yet'));
}

function renderTraffic(status) {
	var traffic = status.traffic;
	return E('p', [
		_('Traffic'), ': ',
		_('sent'), ' ', bytes(traffic.sent_bytes), ' \u00b7 ',
		_('received'), ' ', bytes(traffic.received_bytes)
	]);
}

function renderWarnings(status) {
	return E([], status.warnings.map(function(line) {
		return E('div', { 'class': 'alert-message warning' }, [ line ]);
	}));
}

function renderInterface(entry) {
	var status = entry.status;
	if (!status)
		return E('div', { 'class': 'cbi-section' }, [
			E('h3', [ entry.name ]),
			E('p', [ E('em', [ entry.problem || _('not running') ]) ])
		]);
	return E('div', { 'class': 'cbi-section', 'id': 'ovng-' + entry.name }, [
		E('h3', [ entry.name ]),
		renderSummary(status),
		renderWarnings(status),
		renderPaths(status),
		renderPeers(status),
		renderHandovers(status),
		renderTraffic(status)
	]);
}

return view.extend({
	load: function() {
		return uci.load('network').then(L.bind(this.fetch, this));
	},

	fetch: function() {
		var names = uci.sections('network', 'interface').filter(function(section) {
			return section.proto == 'ovng';
		}).map(function(section) {
			return section['.name'];
		});
		return Promise.all(names.map(function(name) {
			return fs.exec('/usr/bin/ovng', [ 'status', '--json', name ]).then(function(result) {
				if (result.code)
					return { name: name, problem: (result.stderr || '').replace(/^ovng: /, '').trim() };
				return { name: name, status: JSON.parse(result.stdout) };
			}).catch(function(error) {
				return { name: name, problem: error.message };
			});
		}));
	},

	renderAll: function(entries) {
		if (!entries.length)
			return E('p', [ E('em', [ _('No interface uses this protocol yet: Network, Interfaces, Add new interface.') ]) ]);
		return E([], entries.map(renderInterface));
	},

	render: function(entries) {
		var place = E('div', { 'id': 'ovng-status' }, [ this.renderAll(entries) ]);
		poll.add(L.bind(function() {
			return this.fetch().then(L.bind(function(fresh) {
				dom.content(place, this.renderAll(fresh));
			}, this));
		}, this), 5);
		return E([], [ E('h2', [ _('ovng') ]), place ]);
	},

	handleReset: null,
	handleSaveApply: null,
	handleSave: null
});
