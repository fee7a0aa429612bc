# 2025-03-04 05:06:07 by RouterOS 7.18.2
# software id = CCCC-DDDD
/interface pptp-client
add add-default-route=special-classifiers allow=pap,chap,mschap1,mschap2 comment="" connect-to=2001:db8::1 default-route-distance=1 dial-on-demand=no disabled=no keepalive-timeout=60 max-mru=1450 max-mtu=1450 mrru=disabled name=pptp-out1 password=x profile=default-encryption use-peer-dns=exclusively user=u
/ip pool
add comment="subscribers" name=pool1 next-pool=none ranges=10.1.0.2-10.1.0.254
/ipv6 pool
add comment="links" name=ra6 prefix=2001:db8:100::/48 prefix-length=64
add name=pd6 prefix=2001:db8:200::/40 prefix-length=56
add name=inside prefix=2001:db8:100:8000::/49 prefix-length=64
add name=short prefix=2001:db8:300::/48 prefix-length=40
add name=local prefix=fe80::/48 prefix-length=64
add name=bits prefix=2001:db8:300::1/48 prefix-length=64
add from-pool=isp name=other prefix-length=64
add name=hosts prefix=2001:db8:400::/64 prefix-length=128
/ppp profile
set *0 address-list="" !bridge !bridge-horizon bridge-learning=default !bridge-path-cost !bridge-port-priority bridge-port-trusted=no bridge-port-vid=1 change-tcp-mss=yes !dhcpv6-lease-time !dhcpv6-pd-pool dhcpv6-use-radius=no !dns-server !idle-timeout !incoming-filter !insert-queue-before !interface-list local-address=10.1.0.1 name=default on-down="" on-up="" only-one=default !outgoing-filter !parent-queue !queue-type !rate-limit remote-address=pool1 !remote-ipv6-prefix-pool remote-ipv6-prefix-reuse=default !session-timeout use-compression=default use-encryption=default use-ipv6=yes use-mpls=default use-upnp=default !wins-server
add bridge-port-trusted=yes bridge-port-vid=20 change-tcp-mss=yes dhcpv6-lease-time=1h dhcpv6-pd-pool=pd6 dhcpv6-use-radius=yes local-address=pool1 name=six remote-address=10.1.0.99 remote-ipv6-prefix-pool=ra6 use-encryption=required
add dhcpv6-pd-pool=nowhere dns-server=10.1.0.53,2001:db8::53,10.1.0.54,2001:db8::54,10.1.0.55 local-address=10.1.0.1 name=dual remote-ipv6-prefix-pool=hosts remote-ipv6-prefix-reuse=no use-ipv6=required
add name=four remote-ipv6-prefix-pool=none use-ipv6=no
/interface pptp-server server
# PPTP connections are considered unsafe, it is suggested to use a more modern VPN protocol instead
set authentication=mschap1,mschap2 default-profile=default-encryption enabled=no keepalive-timeout=30 max-mru=1450 max-mtu=1450 mrru=disabled
/interface pptp-server
add disabled=no name="<pptp-x>" user=x
add disabled=no name=pptp-in1 user=x
add disabled=no name=pptp-in1 user=y
/ppp secret
add caller-id="" !comment disabled=no ipv6-routes="" limit-bytes-in=0 limit-bytes-out=0 !local-address name="\D0\BE\D0\BB\D0\B3\D0\B0 \"o\"" password="\24\22\5C\3F \?" profile=default !remote-address !remote-ipv6-prefix routes="" service=any
add disabled=no name=six password=y profile=six remote-ipv6-prefix=2001:db8:1::/64 ipv6-routes=2001:db8:2::/48
add disabled=no ipv6-routes="2001:db8:5::/48 fe80::2 1,2001:db8:6::/56" name=routed password=y profile=dual remote-ipv6-prefix=2001:db8:1::/56
add disabled=no name=hidden profile=dual
/user aaa
set accounting=yes default-group=read exclude-groups="" interim-update=0s use-radius=no
