# jan/02/2024 03:04:05 by RouterOS 6.49.13
# software id = AAAA-BBBB
#
# export verbose
/interface pptp-server
add comment="head office" disabled=no name=pptp-in1 user=office
add comment="" disabled=yes name=pptp-in2 user=warehouse
/interface pptp-client
add add-default-route=no allow=pap,chap,mschap1,mschap2 comment="to the \
    provider" connect-to=203.0.113.9 dial-on-demand=no disabled=no \
    keepalive-timeout=60 max-mru=1450 max-mtu=1450 mrru=disabled name=\
    pptp-out1 password="p=a[s]s{w}o;r\$d \\ \"x\" #1" profile=default-encryption \
    user="dom\\site"
add add-default-route=yes allow=mschap2 comment="" connect-to=vpn.example.org \
    default-route-distance=2 dial-on-demand=yes disabled=yes \
    keepalive-timeout=disabled max-mru=1400 max-mtu=1400 mrru=1600 name=\
    pptp-out2 password="" profile=gone user=roamer
/ip pool
add name=a next-pool=b ranges=192.0.2.10-192.0.2.20,192.0.2.64/28
add name=b next-pool=a ranges=192.0.2.128-192.0.2.190
add name=over next-pool=none ranges=192.0.2.15-192.0.2.18
add name=lonely next-pool=nowhere ranges=198.51.100.7
/ppp profile
set *0 address-list="" !bridge !bridge-horizon bridge-learning=default \
    !bridge-path-cost !bridge-port-priority change-tcp-mss=yes !dns-server \
    !idle-timeout !incoming-filter !insert-queue-before !interface-list \
    local-address=192.0.2.1 name=default on-down="" on-up="" only-one=default \
    !outgoing-filter !parent-queue !queue-type !rate-limit remote-address=a \
    !session-timeout use-compression=default use-encryption=default use-ipv6=\
    yes use-mpls=default use-upnp=default !wins-server
add address-list=vpn bridge=bridge1 bridge-horizon=1 bridge-learning=yes \
    bridge-path-cost=10 bridge-port-priority=0x80 change-tcp-mss=no \
    dns-server=192.0.2.1,192.0.2.2,192.0.2.3 idle-timeout=30m \
    incoming-filter=in insert-queue-before=first interface-list=LAN \
    local-address=192.0.2.1 name=gold on-down=":log info down" on-up=\
    ":log info \"up \$user\"" only-one=yes outgoing-filter=out parent-queue=total \
    queue-type=pcq rate-limit="1M/2M 2M/4M 512k/1M 10/10 8 256k/512k" \
    remote-address=b session-timeout=1d2h use-compression=yes use-encryption=\
    yes use-ipv6=no use-mpls=yes use-upnp=yes wins-server=192.0.2.5
set *FFFFFFFE address-list="" change-tcp-mss=default local-address=192.0.2.1 \
    name=default-encryption only-one=default remote-address=elsewhere \
    use-compression=default use-encryption=yes
/interface pptp-server server
set authentication=pap,chap,mschap1,mschap2 default-profile=nosuch enabled=yes \
    keepalive-timeout=10 max-mru=1450 max-mtu=1450 mrru=disabled
/ppp aaa
set accounting=yes interim-update=0s use-circuit-id-in-nas-port-id=no \
    use-radius=no
/ppp secret
add caller-id="" comment="" disabled=no ipv6-routes="" limit-bytes-in=0 \
    limit-bytes-out=0 local-address=192.0.2.1 name=office password=pw1 profile=\
    gold remote-address=192.0.2.200 routes=\
    "10.20.0.0/16 192.0.2.200 1, 10.21.0.0/16" service=pptp
add caller-id=198.51.100.0/24 comment="two\
    \_parts" disabled=yes limit-bytes-in=1000 limit-bytes-out=2000 name=\
    warehouse password=pw2 profile=nosuch remote-address=nopool service=any
add caller-id=00:11:22:33:44:55 comment="" disabled=no name=mac password=pw3 \
    profile=default service=any
add caller-id="" disabled=no name=office password=pw4 profile=default service=\
    l2tp
add caller-id="" disabled=no name=office password=pw5 profile=default service=\
    any
