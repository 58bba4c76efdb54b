# Runs inside the new namespaces: $1 is the scratch directory, $2 the node's address.
ip link set lo up
ip link add mesh0 type bridge
ip addr add "$2/24" dev mesh0
ip link set mesh0 up
# Cluster addresses are no interface's: without a route a packet to them never gets to where it is rewritten.
ip route add default dev mesh0
echo 1 > /proc/sys/net/ipv4/ip_forward

# Directories whose places are fixed in containerd, CNI and the kubelet: one of its own for each cluster.
for directory in /run/netns /run/containerd /run/runc /var/lib/cni /var/lib/kubelet /var/log/containers; do
  mkdir -p "$directory"
  mount -t tmpfs tmpfs "$directory"
done

# The kubelet sets these for the whole machine; it finds what it wants and leaves the machine alone.
mkdir -p "$1/sysctl"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  copy="$1/sysctl/$(basename "${setting%%=*}")"
  echo "${setting##*=}" > "$copy"
  if [ -e "/proc/sys/${setting%%=*}" ]; then mount --bind "$copy" "/proc/sys/${setting%%=*}"; fi
done
