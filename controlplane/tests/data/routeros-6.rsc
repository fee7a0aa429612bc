# feb/14/2023 10:21:33 by RouterOS 6.49.10
# software id = ABCD-1234
#
# model = CCR1036-8G-2S+
/interface bridge
add name=bridge1
/interface ethernet
set [ find default-name=ether1 ] name=ToInternet
set [ find default-name=ether2 ] arp=proxy-arp name=Office
/interface pptp-server
add name=pptp-in1 user=ex
add comment="branch in the north" disabled=yes name=pptp-north user="\D1\81\D0\B5\D0\B2\D0\B5\D1\80"
add name=an-interface-with-a-long-name user=long
/interface pptp-client
add add-default-route=yes allow=mschap2 connect-to=10.1.1.12 disabled=no \
    max-mru=1400 max-mtu=1400 name=test2 password=s3cret-john profile=default-encryption \
    user=john
add connect-to=vpn.example.net mrru=1600 name=pptp-out1 password="s3cret \"quoted\"" \
    user="OFFICE\\ivan"
/ip pool
add name=dial-in ranges=10.150.1.100-10.150.1.199,10.150.3.0/24
add name=small next-pool=dial-in ranges=10.150.2.10-10.150.2.20
/ppp profile
set *0 change-tcp-mss=yes dns-server=10.150.1.254,8.8.8.8 local-address=10.150.1.254 \
    remote-address=dial-in use-compression=no use-encryption=required
add idle-timeout=15m local-address=10.150.1.254 name=flat-5M only-one=yes rate-limit=\
    5M/5M remote-address=small session-timeout=1d
add address-list=vpn,remote bridge=bridge1 incoming-filter=from-vpn local-address=small \
    name=office on-up=":log info \"\$user is up\"" parent-queue=none use-encryption=yes
/system logging action
set 1 disk-file-name=log
/interface pptp-server server
set authentication=mschap2 enabled=yes keepalive-timeout=60 max-mru=1460 max-mtu=\
    1460 mrru=1600
/ip firewall filter
add action=accept chain=input dst-port=1723 protocol=tcp
add action=accept chain=input protocol=gre
add action=drop chain=input in-interface=ToInternet
/ip route
add distance=1 gateway=192.168.81.254
/ppp aaa
set interim-update=5m use-radius=yes
/ppp secret
add local-address=10.0.103.1 name=ex password=lkjrht remote-address=10.0.103.2 routes=\
    "10.150.1.0/24 10.0.103.2 1" service=pptp
add caller-id=198.51.100.7 comment="flat 5, \"ground\" floor" limit-bytes-in=\
    1000000 name=ivan password=s3cret profile=flat-5M
add disabled=yes name="\D0\B8\D0\B2\D0\B0\D0\BD" password="\D0\BF\D0\B0\D1\80\D0\BE\D0\BB\D1\8C" \
    service=any
add name=wifi password=s3cret2 service=pppoe
add name=old password=s3cret3 caller-id=00:11:22:33:44:55 profile=office
/radius
add address=10.0.0.9 secret=s3cret4 service=ppp,hotspot
/system clock
set time-zone-name=Europe/Warsaw
