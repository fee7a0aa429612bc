//! The fields of a secret as arguments, with RouterOS's names.
//!
//! An empty value takes a field away, so that the profile's counts again.

use std::net::Ipv4Addr;
use std::str::FromStr;

use clap::Args;

use crate::config::Span;
use crate::ipv6::Prefix;
use crate::kernel::Destination;
use crate::rate_limit::RateLimit;
use crate::terms::{RemoteAddress, Route};
use crate::users::secret::{Change, Service};

#[derive(Debug, Args)]
pub(super) struct Fields {
    /// What the secret is for: "any" or "pptp"; users of other services are refused
    #[arg(long)]
    service: Option<Service>,
    /// Networks or addresses that the user may call from, separated by commas; "" for everywhere
    #[arg(long, value_name = "FROM", value_parser = commas::<Destination>)]
    caller_id: Option<Many<Destination>>,
    /// Profile of the configuration; "" for the server's default-profile
    #[arg(long, value_parser = text)]
    profile: Option<Maybe<String>>,
    /// Our end of the tunnel; "" for the profile's
    #[arg(long, value_name = "ADDRESS", value_parser = maybe::<Ipv4Addr>)]
    local_address: Option<Maybe<Ipv4Addr>>,
    /// The user's end: an address of their own, or a pool; "" for the profile's
    #[arg(long, value_name = "ADDRESS|POOL", value_parser = text)]
    remote_address: Option<Maybe<String>>,
    /// Networks behind the user, "destination [gateway [metric]]" each, separated by commas
    #[arg(long, value_parser = commas::<Route>)]
    routes: Option<Many<Route>>,
    /// IPv6 prefix of the user's link, advertised to it; "" for one of the profile's pool
    #[arg(long, value_name = "PREFIX", value_parser = maybe::<Prefix>)]
    remote_ipv6_prefix: Option<Maybe<Prefix>>,
    /// IPv6 prefix that DHCPv6 delegates to the user; "" for one of the profile's pool
    #[arg(long, value_name = "PREFIX", value_parser = maybe::<Prefix>)]
    delegated_ipv6_prefix: Option<Maybe<Prefix>>,
    /// IPv6 networks behind the user, separated by commas
    #[arg(long, value_name = "PREFIXES", value_parser = commas::<Prefix>)]
    ipv6_routes: Option<Many<Prefix>>,
    /// "rx[/tx] [burst [threshold [seconds]]]", rx from the user, as "2M/10M"; "0" for no limit, ""
    /// for the profile's
    #[arg(long, value_name = "RATE", value_parser = maybe::<RateLimit>)]
    rate_limit: Option<Maybe<RateLimit>>,
    /// How long a session may last, as "8h"; "0s" for ever, "" for the profile's
    #[arg(long, value_name = "TIME", value_parser = maybe::<Span>)]
    session_timeout: Option<Maybe<Span>>,
    /// How long a session may carry no packet; "0s" for ever, "" for the profile's
    #[arg(long, value_name = "TIME", value_parser = maybe::<Span>)]
    idle_timeout: Option<Maybe<Span>>,
    /// Bytes that a session may send us; "" for no limit
    #[arg(long, value_name = "BYTES", value_parser = maybe::<u64>)]
    limit_bytes_in: Option<Maybe<u64>>,
    /// Bytes that a session may be sent; "" for no limit
    #[arg(long, value_name = "BYTES", value_parser = maybe::<u64>)]
    limit_bytes_out: Option<Maybe<u64>>,
    /// Whether the user may call from outside of the server's local-networks
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    remote_access: Option<bool>,
    /// Keep the clear password, which CHAP-MD5 needs
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pub(super) allow_chap: Option<bool>,
    /// Refuse the user (yes) or not (no)
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no, num_args = 0..=1,
          default_missing_value = "yes")]
    disabled: Option<bool>,
    /// A note
    #[arg(long)]
    comment: Option<String>,
}

impl Fields {
    /// What they say, but for the password.
    pub(super) fn change(&self) -> Change {
        Change {
            service: self.service,
            caller_id: self.caller_id.clone().map(|many| many.0),
            profile: self.profile.clone().map(|maybe| maybe.0),
            local_address: self.local_address.clone().map(|maybe| maybe.0),
            remote_address: self
                .remote_address
                .clone()
                .map(|maybe| maybe.0.map(RemoteAddress::from)),
            routes: self.routes.clone().map(|many| many.0),
            remote_ipv6_prefix: self.remote_ipv6_prefix.clone().map(|maybe| maybe.0),
            delegated_ipv6_prefix: self.delegated_ipv6_prefix.clone().map(|maybe| maybe.0),
            ipv6_routes: self.ipv6_routes.clone().map(|many| many.0),
            rate_limit: self.rate_limit.clone().map(|maybe| maybe.0),
            session_timeout: self.session_timeout.clone().map(|maybe| maybe.0),
            idle_timeout: self.idle_timeout.clone().map(|maybe| maybe.0),
            limit_bytes_in: self.limit_bytes_in.clone().map(|maybe| maybe.0),
            limit_bytes_out: self.limit_bytes_out.clone().map(|maybe| maybe.0),
            remote_access: self.remote_access,
            disabled: self.disabled,
            comment: self.comment.clone(),
            ..Change::default()
        }
    }
}

/// A value, or none for an empty one.
#[derive(Debug, Clone)]
struct Maybe<T>(Option<T>);

/// Values between commas.
#[derive(Debug, Clone)]
struct Many<T>(Vec<T>);

fn text(text: &str) -> Result<Maybe<String>, String> {
    Ok(Maybe(Some(text.to_owned()).filter(|text| !text.is_empty())))
}

fn maybe<T: FromStr<Err: ToString>>(text: &str) -> Result<Maybe<T>, String> {
    let value = (!text.is_empty()).then(|| text.parse()).transpose();
    value.map(Maybe).map_err(|error: T::Err| error.to_string())
}

fn commas<T: FromStr<Err: ToString>>(text: &str) -> Result<Many<T>, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let values: Result<_, T::Err> = words.map(str::parse).collect();
    values.map(Many).map_err(|error| error.to_string())
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("say yes or no".to_owned()),
    }
}
