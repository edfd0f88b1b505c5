#!/bin/sh
# A machine with systemd as its first process: `machine.sh ROOT UPPER WORK MOUNT`, on the network it is started on. ROOT
# stays as it is, UPPER gets what the machine writes. Runs in namespaces of its own (mounts, processes, names, cgroups):
# of the kernel it may change nothing but its network.
set -eu
exec unshare --mount --uts --ipc --pid --cgroup --fork --kill-child sh -euc '
root=$0 upper=$1 work=$2 m=$3
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$root,upperdir=$upper,workdir=$work" "$m"
mount -t proc proc "$m/proc" -o nosuid,nodev,noexec
mount --bind "$m/proc/sys" "$m/proc/sys"
mount --bind "$m/proc/sys/net" "$m/proc/sys/net"
mount -o remount,bind,ro "$m/proc/sys"
mount -t sysfs sysfs "$m/sys" -o nosuid,nodev,noexec,ro
mount -t tmpfs tmpfs "$m/run" -o mode=755
mount -t tmpfs tmpfs "$m/tmp"
mount -t tmpfs tmpfs "$m/dev" -o mode=755
mkdir "$m/dev/pts" "$m/dev/shm" "$m/dev/net"
mount -t devpts devpts "$m/dev/pts" -o newinstance,ptmxmode=666,mode=620
ln -s pts/ptmx "$m/dev/ptmx"
ln -s /proc/self/fd "$m/dev/fd"
for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "net/tun 10 200"; do
    set -- $device
    mknod -m 666 "$m/dev/$1" c "$2" "$3"
done
mount -t cgroup2 cgroup2 "$m/sys/fs/cgroup"
hostname machine
cd "$m"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside
mount --make-rshared / # as systemd expects it; what it mounts for a service (credentials) arrives there by that
exec env -i container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=no
' "$@"
