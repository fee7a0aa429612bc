//! Names, numbers and kinds of the attributes that we know.
//!
//! RFC 2865 to 2869, 3162, 4818, 6911 and 5176; Microsoft's of RFC 2548; Mikrotik's and WISPr's as
//! their own dictionaries have them. What is not here is carried along by number and never guessed.

use std::fmt;

use super::value::Kind;

/// Vendor-Specific (RFC 2865 §5.26).
pub const VENDOR_SPECIFIC: u8 = 26;
/// Microsoft (RFC 2548 §2).
pub const MICROSOFT: u32 = 311;
/// Mikrotik.
pub const MIKROTIK: u32 = 14988;
/// The Wireless ISP roaming group.
pub const WISPR: u32 = 14122;
/// The vendors whose Vendor-Specific attributes are taken apart.
pub const VENDORS: [u32; 3] = [MICROSOFT, MIKROTIK, WISPR];

/// Which attribute it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// By its type (RFC 2865 §5).
    Standard(u8),
    /// A vendor's (RFC 2865 §5.26).
    Vendor {
        /// SMI network management private enterprise code.
        vendor: u32,
        /// The vendor's own type.
        number: u8,
    },
}

/// An attribute that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Which it is.
    pub id: Id,
    /// As dictionaries write it.
    pub name: &'static str,
    /// What its octets are.
    pub kind: Kind,
}

/// The definition of an attribute, if we know it.
#[must_use]
pub fn find(id: Id) -> Option<Definition> {
    ALL.iter().copied().find(|definition| definition.id == id)
}

/// By name where we know it, by number where we do not.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (find(*self), self) {
            (Some(definition), _) => f.write_str(definition.name),
            (None, Self::Standard(number)) => write!(f, "Attr-{number}"),
            (None, Self::Vendor { vendor, number }) => write!(f, "Attr-26.{vendor}.{number}"),
        }
    }
}

const fn standard(number: u8, name: &'static str, kind: Kind) -> Definition {
    Definition { id: Id::Standard(number), name, kind }
}

const fn microsoft(number: u8, name: &'static str, kind: Kind) -> Definition {
    Definition { id: Id::Vendor { vendor: MICROSOFT, number }, name, kind }
}

const fn mikrotik(number: u8, name: &'static str, kind: Kind) -> Definition {
    Definition { id: Id::Vendor { vendor: MIKROTIK, number }, name, kind }
}

const fn wispr(number: u8, name: &'static str, kind: Kind) -> Definition {
    Definition { id: Id::Vendor { vendor: WISPR, number }, name, kind }
}

/// RFC 2865 §5.1.
pub const USER_NAME: Definition = standard(1, "User-Name", Kind::Text);
/// RFC 2865 §5.2.
pub const USER_PASSWORD: Definition = standard(2, "User-Password", Kind::Hidden);
/// RFC 2865 §5.3: CHAP identifier and response.
pub const CHAP_PASSWORD: Definition = standard(3, "CHAP-Password", Kind::Hidden);
/// RFC 2865 §5.4.
pub const NAS_IP_ADDRESS: Definition = standard(4, "NAS-IP-Address", Kind::Address);
/// RFC 2865 §5.5.
pub const NAS_PORT: Definition = standard(5, "NAS-Port", Kind::Integer);
/// RFC 2865 §5.6.
pub const SERVICE_TYPE: Definition = standard(6, "Service-Type", Kind::Integer);
/// RFC 2865 §5.7.
pub const FRAMED_PROTOCOL: Definition = standard(7, "Framed-Protocol", Kind::Integer);
/// RFC 2865 §5.8.
pub const FRAMED_IP_ADDRESS: Definition = standard(8, "Framed-IP-Address", Kind::Address);
/// RFC 2865 §5.9.
pub const FRAMED_IP_NETMASK: Definition = standard(9, "Framed-IP-Netmask", Kind::Address);
/// RFC 2865 §5.11.
pub const FILTER_ID: Definition = standard(11, "Filter-Id", Kind::Text);
/// RFC 2865 §5.12.
pub const FRAMED_MTU: Definition = standard(12, "Framed-MTU", Kind::Integer);
/// RFC 2865 §5.18.
pub const REPLY_MESSAGE: Definition = standard(18, "Reply-Message", Kind::Text);
/// RFC 2865 §5.22.
pub const FRAMED_ROUTE: Definition = standard(22, "Framed-Route", Kind::Text);
/// RFC 2865 §5.24.
pub const STATE: Definition = standard(24, "State", Kind::Octets);
/// RFC 2865 §5.25.
pub const CLASS: Definition = standard(25, "Class", Kind::Octets);
/// RFC 2865 §5.27: seconds.
pub const SESSION_TIMEOUT: Definition = standard(27, "Session-Timeout", Kind::Integer);
/// RFC 2865 §5.28: seconds.
pub const IDLE_TIMEOUT: Definition = standard(28, "Idle-Timeout", Kind::Integer);
/// RFC 2865 §5.30.
pub const CALLED_STATION_ID: Definition = standard(30, "Called-Station-Id", Kind::Text);
/// RFC 2865 §5.31.
pub const CALLING_STATION_ID: Definition = standard(31, "Calling-Station-Id", Kind::Text);
/// RFC 2865 §5.32.
pub const NAS_IDENTIFIER: Definition = standard(32, "NAS-Identifier", Kind::Text);
/// RFC 2865 §5.33.
pub const PROXY_STATE: Definition = standard(33, "Proxy-State", Kind::Octets);
/// RFC 2866 §5.1.
pub const ACCT_STATUS_TYPE: Definition = standard(40, "Acct-Status-Type", Kind::Integer);
/// RFC 2866 §5.2: seconds.
pub const ACCT_DELAY_TIME: Definition = standard(41, "Acct-Delay-Time", Kind::Integer);
/// RFC 2866 §5.3: the lower 32 bits.
pub const ACCT_INPUT_OCTETS: Definition = standard(42, "Acct-Input-Octets", Kind::Integer);
/// RFC 2866 §5.4: the lower 32 bits.
pub const ACCT_OUTPUT_OCTETS: Definition = standard(43, "Acct-Output-Octets", Kind::Integer);
/// RFC 2866 §5.5.
pub const ACCT_SESSION_ID: Definition = standard(44, "Acct-Session-Id", Kind::Text);
/// RFC 2866 §5.6.
pub const ACCT_AUTHENTIC: Definition = standard(45, "Acct-Authentic", Kind::Integer);
/// RFC 2866 §5.7: seconds.
pub const ACCT_SESSION_TIME: Definition = standard(46, "Acct-Session-Time", Kind::Integer);
/// RFC 2866 §5.8.
pub const ACCT_INPUT_PACKETS: Definition = standard(47, "Acct-Input-Packets", Kind::Integer);
/// RFC 2866 §5.9.
pub const ACCT_OUTPUT_PACKETS: Definition = standard(48, "Acct-Output-Packets", Kind::Integer);
/// RFC 2866 §5.10.
pub const ACCT_TERMINATE_CAUSE: Definition = standard(49, "Acct-Terminate-Cause", Kind::Integer);
/// RFC 2866 §5.11.
pub const ACCT_MULTI_SESSION_ID: Definition = standard(50, "Acct-Multi-Session-Id", Kind::Text);
/// RFC 2866 §5.12.
pub const ACCT_LINK_COUNT: Definition = standard(51, "Acct-Link-Count", Kind::Integer);
/// RFC 2869 §5.1: the upper 32 bits.
pub const ACCT_INPUT_GIGAWORDS: Definition = standard(52, "Acct-Input-Gigawords", Kind::Integer);
/// RFC 2869 §5.2: the upper 32 bits.
pub const ACCT_OUTPUT_GIGAWORDS: Definition = standard(53, "Acct-Output-Gigawords", Kind::Integer);
/// RFC 2869 §5.3.
pub const EVENT_TIMESTAMP: Definition = standard(55, "Event-Timestamp", Kind::Time);
/// RFC 2865 §5.40.
pub const CHAP_CHALLENGE: Definition = standard(60, "CHAP-Challenge", Kind::Octets);
/// RFC 2865 §5.41.
pub const NAS_PORT_TYPE: Definition = standard(61, "NAS-Port-Type", Kind::Integer);
/// RFC 2865 §5.42.
pub const PORT_LIMIT: Definition = standard(62, "Port-Limit", Kind::Integer);
/// RFC 2868 §3.1.
pub const TUNNEL_TYPE: Definition = standard(64, "Tunnel-Type", Kind::TaggedInteger);
/// RFC 2868 §3.2.
pub const TUNNEL_MEDIUM_TYPE: Definition = standard(65, "Tunnel-Medium-Type", Kind::TaggedInteger);
/// RFC 2868 §3.3.
pub const TUNNEL_CLIENT_ENDPOINT: Definition =
    standard(66, "Tunnel-Client-Endpoint", Kind::TaggedText);
/// RFC 2868 §3.4.
pub const TUNNEL_SERVER_ENDPOINT: Definition =
    standard(67, "Tunnel-Server-Endpoint", Kind::TaggedText);
/// RFC 2867 §4.1.
pub const ACCT_TUNNEL_CONNECTION: Definition = standard(68, "Acct-Tunnel-Connection", Kind::Text);
/// RFC 2869 §5.11.
pub const CONNECT_INFO: Definition = standard(77, "Connect-Info", Kind::Text);
/// RFC 2869 §5.14.
pub const MESSAGE_AUTHENTICATOR: Definition = standard(80, "Message-Authenticator", Kind::Octets);
/// RFC 2868 §3.7.
pub const TUNNEL_ASSIGNMENT_ID: Definition = standard(82, "Tunnel-Assignment-ID", Kind::TaggedText);
/// RFC 2869 §5.16: seconds.
pub const ACCT_INTERIM_INTERVAL: Definition = standard(85, "Acct-Interim-Interval", Kind::Integer);
/// RFC 2869 §5.17.
pub const NAS_PORT_ID: Definition = standard(87, "NAS-Port-Id", Kind::Text);
/// RFC 2869 §5.18.
pub const FRAMED_POOL: Definition = standard(88, "Framed-Pool", Kind::Text);
/// RFC 2868 §3.9.
pub const TUNNEL_CLIENT_AUTH_ID: Definition =
    standard(90, "Tunnel-Client-Auth-ID", Kind::TaggedText);
/// RFC 2868 §3.10.
pub const TUNNEL_SERVER_AUTH_ID: Definition =
    standard(91, "Tunnel-Server-Auth-ID", Kind::TaggedText);
/// RFC 3162 §2.1.
pub const NAS_IPV6_ADDRESS: Definition = standard(95, "NAS-IPv6-Address", Kind::Address6);
/// RFC 3162 §2.2.
pub const FRAMED_INTERFACE_ID: Definition = standard(96, "Framed-Interface-Id", Kind::InterfaceId);
/// RFC 3162 §2.3.
pub const FRAMED_IPV6_PREFIX: Definition = standard(97, "Framed-IPv6-Prefix", Kind::Prefix6);
/// RFC 3162 §2.5.
pub const FRAMED_IPV6_ROUTE: Definition = standard(99, "Framed-IPv6-Route", Kind::Text);
/// RFC 3162 §2.6.
pub const FRAMED_IPV6_POOL: Definition = standard(100, "Framed-IPv6-Pool", Kind::Text);
/// RFC 5176 §3.5.
pub const ERROR_CAUSE: Definition = standard(101, "Error-Cause", Kind::Integer);
/// RFC 4818 §3.
pub const DELEGATED_IPV6_PREFIX: Definition = standard(123, "Delegated-IPv6-Prefix", Kind::Prefix6);
/// RFC 6911 §3.1.
pub const FRAMED_IPV6_ADDRESS: Definition = standard(168, "Framed-IPv6-Address", Kind::Address6);
/// RFC 6911 §3.2.
pub const DNS_SERVER_IPV6_ADDRESS: Definition =
    standard(169, "DNS-Server-IPv6-Address", Kind::Address6);
/// RFC 6911 §3.3.
pub const ROUTE_IPV6_INFORMATION: Definition =
    standard(170, "Route-IPv6-Information", Kind::Prefix6);
/// RFC 6911 §3.4.
pub const DELEGATED_IPV6_PREFIX_POOL: Definition =
    standard(171, "Delegated-IPv6-Prefix-Pool", Kind::Text);
/// RFC 6911 §3.5.
pub const STATEFUL_IPV6_ADDRESS_POOL: Definition =
    standard(172, "Stateful-IPv6-Address-Pool", Kind::Text);

/// RFC 2548 §2.1.3.
pub const MS_CHAP_RESPONSE: Definition = microsoft(1, "MS-CHAP-Response", Kind::Octets);
/// RFC 2548 §2.1.5: an identifier and text.
pub const MS_CHAP_ERROR: Definition = microsoft(2, "MS-CHAP-Error", Kind::Octets);
/// RFC 2548 §2.4.4.
pub const MS_MPPE_ENCRYPTION_POLICY: Definition =
    microsoft(7, "MS-MPPE-Encryption-Policy", Kind::Integer);
/// RFC 2548 §2.4.5.
pub const MS_MPPE_ENCRYPTION_TYPES: Definition =
    microsoft(8, "MS-MPPE-Encryption-Types", Kind::Integer);
/// RFC 2548 §2.1.4: an identifier and text.
pub const MS_CHAP_DOMAIN: Definition = microsoft(10, "MS-CHAP-Domain", Kind::Octets);
/// RFC 2548 §2.1.2.
pub const MS_CHAP_CHALLENGE: Definition = microsoft(11, "MS-CHAP-Challenge", Kind::Octets);
/// RFC 2548 §2.4.1.
pub const MS_CHAP_MPPE_KEYS: Definition = microsoft(12, "MS-CHAP-MPPE-Keys", Kind::Hidden);
/// RFC 2548 §2.4.2.
pub const MS_MPPE_SEND_KEY: Definition = microsoft(16, "MS-MPPE-Send-Key", Kind::Hidden);
/// RFC 2548 §2.4.3.
pub const MS_MPPE_RECV_KEY: Definition = microsoft(17, "MS-MPPE-Recv-Key", Kind::Hidden);
/// RFC 2548 §2.3.2.
pub const MS_CHAP2_RESPONSE: Definition = microsoft(25, "MS-CHAP2-Response", Kind::Octets);
/// RFC 2548 §2.3.3.
pub const MS_CHAP2_SUCCESS: Definition = microsoft(26, "MS-CHAP2-Success", Kind::Octets);
/// RFC 2548 §2.7.6.
pub const MS_PRIMARY_DNS_SERVER: Definition = microsoft(28, "MS-Primary-DNS-Server", Kind::Address);
/// RFC 2548 §2.7.7.
pub const MS_SECONDARY_DNS_SERVER: Definition =
    microsoft(29, "MS-Secondary-DNS-Server", Kind::Address);
/// RFC 2548 §2.7.8.
pub const MS_PRIMARY_NBNS_SERVER: Definition =
    microsoft(30, "MS-Primary-NBNS-Server", Kind::Address);
/// RFC 2548 §2.7.9.
pub const MS_SECONDARY_NBNS_SERVER: Definition =
    microsoft(31, "MS-Secondary-NBNS-Server", Kind::Address);

/// Octets from the subscriber, the lower 32 bits.
pub const MIKROTIK_RECV_LIMIT: Definition = mikrotik(1, "Mikrotik-Recv-Limit", Kind::Integer);
/// Octets to the subscriber, the lower 32 bits.
pub const MIKROTIK_XMIT_LIMIT: Definition = mikrotik(2, "Mikrotik-Xmit-Limit", Kind::Integer);
/// Names a profile.
pub const MIKROTIK_GROUP: Definition = mikrotik(3, "Mikrotik-Group", Kind::Text);
/// RouterOS's `rate-limit`.
pub const MIKROTIK_RATE_LIMIT: Definition = mikrotik(8, "Mikrotik-Rate-Limit", Kind::Text);
/// The upper 32 bits.
pub const MIKROTIK_RECV_LIMIT_GIGAWORDS: Definition =
    mikrotik(14, "Mikrotik-Recv-Limit-Gigawords", Kind::Integer);
/// The upper 32 bits.
pub const MIKROTIK_XMIT_LIMIT_GIGAWORDS: Definition =
    mikrotik(15, "Mikrotik-Xmit-Limit-Gigawords", Kind::Integer);
/// Octets both ways, the lower 32 bits.
pub const MIKROTIK_TOTAL_LIMIT: Definition = mikrotik(17, "Mikrotik-Total-Limit", Kind::Integer);
/// The upper 32 bits.
pub const MIKROTIK_TOTAL_LIMIT_GIGAWORDS: Definition =
    mikrotik(18, "Mikrotik-Total-Limit-Gigawords", Kind::Integer);
/// Names a list of addresses.
pub const MIKROTIK_ADDRESS_LIST: Definition = mikrotik(19, "Mikrotik-Address-List", Kind::Text);
/// Names a pool of prefixes.
pub const MIKROTIK_DELEGATED_IPV6_POOL: Definition =
    mikrotik(22, "Mikrotik-Delegated-IPv6-Pool", Kind::Text);

/// Bits a second from the subscriber.
pub const WISPR_BANDWIDTH_MAX_UP: Definition = wispr(7, "WISPr-Bandwidth-Max-Up", Kind::Integer);
/// Bits a second to the subscriber.
pub const WISPR_BANDWIDTH_MAX_DOWN: Definition =
    wispr(8, "WISPr-Bandwidth-Max-Down", Kind::Integer);

/// All that we know.
pub const ALL: &[Definition] = &[
    USER_NAME,
    USER_PASSWORD,
    CHAP_PASSWORD,
    NAS_IP_ADDRESS,
    NAS_PORT,
    SERVICE_TYPE,
    FRAMED_PROTOCOL,
    FRAMED_IP_ADDRESS,
    FRAMED_IP_NETMASK,
    FILTER_ID,
    FRAMED_MTU,
    REPLY_MESSAGE,
    FRAMED_ROUTE,
    STATE,
    CLASS,
    SESSION_TIMEOUT,
    IDLE_TIMEOUT,
    CALLED_STATION_ID,
    CALLING_STATION_ID,
    NAS_IDENTIFIER,
    PROXY_STATE,
    ACCT_STATUS_TYPE,
    ACCT_DELAY_TIME,
    ACCT_INPUT_OCTETS,
    ACCT_OUTPUT_OCTETS,
    ACCT_SESSION_ID,
    ACCT_AUTHENTIC,
    ACCT_SESSION_TIME,
    ACCT_INPUT_PACKETS,
    ACCT_OUTPUT_PACKETS,
    ACCT_TERMINATE_CAUSE,
    ACCT_MULTI_SESSION_ID,
    ACCT_LINK_COUNT,
    ACCT_INPUT_GIGAWORDS,
    ACCT_OUTPUT_GIGAWORDS,
    EVENT_TIMESTAMP,
    CHAP_CHALLENGE,
    NAS_PORT_TYPE,
    PORT_LIMIT,
    TUNNEL_TYPE,
    TUNNEL_MEDIUM_TYPE,
    TUNNEL_CLIENT_ENDPOINT,
    TUNNEL_SERVER_ENDPOINT,
    ACCT_TUNNEL_CONNECTION,
    CONNECT_INFO,
    MESSAGE_AUTHENTICATOR,
    TUNNEL_ASSIGNMENT_ID,
    ACCT_INTERIM_INTERVAL,
    NAS_PORT_ID,
    FRAMED_POOL,
    TUNNEL_CLIENT_AUTH_ID,
    TUNNEL_SERVER_AUTH_ID,
    NAS_IPV6_ADDRESS,
    FRAMED_INTERFACE_ID,
    FRAMED_IPV6_PREFIX,
    FRAMED_IPV6_ROUTE,
    FRAMED_IPV6_POOL,
    ERROR_CAUSE,
    DELEGATED_IPV6_PREFIX,
    FRAMED_IPV6_ADDRESS,
    DNS_SERVER_IPV6_ADDRESS,
    ROUTE_IPV6_INFORMATION,
    DELEGATED_IPV6_PREFIX_POOL,
    STATEFUL_IPV6_ADDRESS_POOL,
    MS_CHAP_RESPONSE,
    MS_CHAP_ERROR,
    MS_MPPE_ENCRYPTION_POLICY,
    MS_MPPE_ENCRYPTION_TYPES,
    MS_CHAP_DOMAIN,
    MS_CHAP_CHALLENGE,
    MS_CHAP_MPPE_KEYS,
    MS_MPPE_SEND_KEY,
    MS_MPPE_RECV_KEY,
    MS_CHAP2_RESPONSE,
    MS_CHAP2_SUCCESS,
    MS_PRIMARY_DNS_SERVER,
    MS_SECONDARY_DNS_SERVER,
    MS_PRIMARY_NBNS_SERVER,
    MS_SECONDARY_NBNS_SERVER,
    MIKROTIK_RECV_LIMIT,
    MIKROTIK_XMIT_LIMIT,
    MIKROTIK_GROUP,
    MIKROTIK_RATE_LIMIT,
    MIKROTIK_RECV_LIMIT_GIGAWORDS,
    MIKROTIK_XMIT_LIMIT_GIGAWORDS,
    MIKROTIK_TOTAL_LIMIT,
    MIKROTIK_TOTAL_LIMIT_GIGAWORDS,
    MIKROTIK_ADDRESS_LIST,
    MIKROTIK_DELEGATED_IPV6_POOL,
    WISPR_BANDWIDTH_MAX_UP,
    WISPR_BANDWIDTH_MAX_DOWN,
];

/// Values of Service-Type (RFC 2865 §5.6).
pub mod service_type {
    /// PPP or SLIP.
    pub const FRAMED: u32 = 2;
}

/// Values of Framed-Protocol (RFC 2865 §5.7).
pub mod framed_protocol {
    /// PPP.
    pub const PPP: u32 = 1;
}

/// Values of Error-Cause (RFC 5176 §3.5).
pub mod error_cause {
    /// An attribute that we do not serve.
    pub const UNSUPPORTED_ATTRIBUTE: u32 = 401;
    /// An attribute is missing.
    pub const MISSING_ATTRIBUTE: u32 = 402;
    /// We are not the NAS that is meant.
    pub const NAS_IDENTIFICATION_MISMATCH: u32 = 403;
    /// A Service-Type that we do not serve.
    pub const UNSUPPORTED_SERVICE: u32 = 405;
    /// A known attribute with a value that makes no sense.
    pub const INVALID_ATTRIBUTE_VALUE: u32 = 407;
    /// No session is meant.
    pub const SESSION_CONTEXT_NOT_FOUND: u32 = 503;
    /// The session is there and stays as it is.
    pub const SESSION_CONTEXT_NOT_REMOVABLE: u32 = 504;
    /// We cannot do it now.
    pub const RESOURCES_UNAVAILABLE: u32 = 506;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        let ids: HashSet<Id> = ALL.iter().map(|definition| definition.id).collect();
        let names: HashSet<&str> = ALL.iter().map(|definition| definition.name).collect();
        assert_eq!((ids.len(), names.len()), (ALL.len(), ALL.len()));
    }

    #[test]
    fn what_is_known_has_a_name_and_the_rest_a_number() {
        assert_eq!(find(CLASS.id), Some(CLASS));
        assert_eq!(MS_CHAP2_SUCCESS.id.to_string(), "MS-CHAP2-Success");
        assert_eq!(Id::Standard(250).to_string(), "Attr-250");
        assert_eq!(Id::Vendor { vendor: 9, number: 1 }.to_string(), "Attr-26.9.1");
    }
}
