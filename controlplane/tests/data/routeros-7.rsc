# 2024-05-01 08:00:00 by RouterOS 7.14.3
# software id = WXYZ-9876
#
/interface ethernet set [ find default-name=ether1 ] name=wan
/interface pptp-client add allow=mschap2,mschap1 connect-to=192.168.80.1 default-route-distance=5 add-default-route=yes disabled=no keepalive-timeout=disabled name=pptp-out1 password=s3cret profile=default use-peer-dns=yes user=ex
/interface list add name=WAN
/ip pool add name=vpn ranges=10.8.0.2-10.8.0.254
/ppp profile set *0 local-address=10.8.0.1 remote-address=vpn
/ppp profile add dhcpv6-pd-pool=pd6 insert-queue-before=bottom interface-list=WAN name=gold queue-type=default rate-limit="10M/20M 20M/40M 8M/16M 8/8" use-ipv6=yes use-upnp=no wins-server=10.8.0.5
/ppp profile set *FFFFFFFE dns-server=10.8.0.1
/interface pptp-server server set authentication=mschap1,mschap2 default-profile=gold enabled=yes
/interface/pptp-server/add name=branch user=branch
/ppp secret add name=branch password="s3cret\24\5C" profile=gold ipv6-routes="" routes="10.20.0.0/16 10.8.0.9 1,10.30.0.0/16" remote-address=10.8.0.9
/ppp secret add last-logged-out=2024-04-30 name=roadwarrior password="" !profile
/ppp secret remove [ find name=gone ]
/ppp aaa set interim-update=5m use-circuit-id-in-nas-port-id=no use-radius=yes
/radius add address=10.8.0.3 secret=rad1us service=ppp,login timeout=1s500ms require-message-auth=no src-address=10.8.0.1
/radius add accounting-backup=yes accounting-port=1646 address=10.8.0.4 authentication-port=1645 secret="other one" service=ppp realm=isp comment=second
/radius add address=10.8.0.5 service=ppp
/radius add address=10.8.0.6 secret=x service=hotspot
/radius add address=10.8.0.7 protocol=radsec secret=radsec service=ppp
/radius incoming set accept=yes port=1700
/ppp l2tp-secret add address=0.0.0.0/0
/routing ospf instance add name=default
