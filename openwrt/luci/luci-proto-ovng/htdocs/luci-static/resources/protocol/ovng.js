'use strict';
'require form';
'require network';
'require tools.widgets as widgets';

/* What the handler and the daemon report by code (openwrt/net/ovng/files/ovng.sh). */
network.registerErrorCode('OVNG_NO_PROFILE', _('There is no profile yet: import the one that the CA made'));
network.registerErrorCode('OVNG_BAD_PROFILE', _('The profile or a setting cannot be used: the system log says why'));
network.registerErrorCode('OVNG_NOT_WANTED', _('The network does not want this node: it was revoked, or another device uses its profile'));
network.registerErrorCode('OVNG_FAILED', _('The service ended and is started again: the system log says why'));
network.registerErrorCode('OVNG_NAME_TOO_LONG', _('An interface of this protocol has a name of at most 15 characters'));
network.registerErrorCode('OVNG_NO_SETTINGS', _('The settings cannot be written or the certificates cannot be read'));

return network.registerProtocol('ovng', {
	getI18n: function() {
		return _('ovng (tunnel for machines that move)');
	},

	getIfname: function() {
		return this._ubus('l3_device') || this.sid;
	},

	getPackageName: function() {
		return 'ovng-proto';
	},

	/* LuCI of 24.10 asks by the older name. */
	getOpkgPackage: function() {
		return 'ovng-proto';
	},

	isFloating: function() {
		return true;
	},

	isVirtual: function() {
		return true;
	},

	getDevices: function() {
		return null;
	},

	containsDevice: function(ifname) {
		return (network.getIfnameOf(ifname) == this.getIfname());
	},

	renderFormOptions: function(s) {
		var o;

		o = s.taboption('general', form.FileUpload, 'profile', _('Profile'),
			_('What <code>ovng ca sign</code> or <code>ovng ca issue</code> made for this router. With a profile that was signed, the key stays in <code>/etc/ovng</code>, where <code>ovng request</code> made it.'));
		o.root_directory = '/etc/ovng';
		o.enable_upload = true;
		o.enable_remove = false;
		o.placeholder = '/etc/ovng/%s.ovng'.format(s.section);
		o.optional = true;

		o = s.taboption('general', widgets.DeviceSelect, 'uplink', _('Uplinks'),
			_('The devices by which the Switch may be reached, best first. None: all there are, by route metric.'));
		o.multiple = true;
		o.noaliases = true;
		o.nocreate = true;
		o.optional = true;
		o.filter = function(section_id, value) {
			return value != section_id && value != 'lo';
		};

		o = s.taboption('general', widgets.DeviceSelect, 'metered', _('Metered'),
			_('Devices that cost money: they carry only what they must while there is another.'));
		o.multiple = true;
		o.noaliases = true;
		o.nocreate = true;
		o.optional = true;
		o.filter = function(section_id, value) {
			return value != section_id && value != 'lo';
		};

		o = s.taboption('general', form.ListValue, 'mode', _('Mode'));
		o.value('', _('as the profile says'));
		o.value('failover', _('failover: one uplink at a time'));
		o.value('redundant', _('redundant: every packet on two uplinks'));
		o.optional = true;

		o = s.taboption('advanced', form.Value, 'fwmark', _('Firewall mark'),
			_('Of what is sent to the Switch. With mwan3, by default its mask: mwan3 then leaves it alone.'));
		o.optional = true;
		o.validate = function(section_id, value) {
			if (value == '' || /^(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})$/.test(value))
				return true;
			return _('Expecting a number such as 0x3f00');
		};

		o = s.taboption('advanced', form.DynamicList, 'accept_routes', _('Accepted routes'),
			_('Networks behind other nodes that may be reached through the tunnel. None: all private ones.'));
		o.datatype = 'cidr';
		o.optional = true;

		o = s.taboption('advanced', form.DynamicList, 'exit', _('Exit nodes'),
			_('IDs of nodes that may be the way to the Internet.'));
		o.placeholder = '3f9a-77c1-02be-5d40';
		o.optional = true;
		o.validate = function(section_id, value) {
			if (value == '' || /^([0-9a-f]{4}-){3}[0-9a-f]{4}$/.test(value))
				return true;
			return _('Expecting a node ID such as 3f9a-77c1-02be-5d40');
		};

		o = s.taboption('advanced', form.Value, 'mtu', _('MTU'));
		o.datatype = 'range(1280,65463)';
		o.placeholder = '1400';
		o.optional = true;

		o = s.taboption('advanced', form.Value, 'keepalive', _('Keepalive'), _('Seconds between signs of life.'));
		o.datatype = 'uinteger';
		o.placeholder = '25';
		o.optional = true;

		o = s.taboption('advanced', form.Value, 'nice', _('Nice'),
			_('How far ahead of other programs it runs: -20 most, 0 as they do.'));
		o.datatype = 'and(integer,range(-20,19))';
		o.placeholder = '-15';
		o.optional = true;

		o = s.taboption('advanced', form.ListValue, 'log_level', _('Log level'));
		o.value('', _('as the profile says'));
		o.value('error');
		o.value('warning');
		o.value('info');
		o.value('debug');
		o.optional = true;
	}
});
