//! What `penstock dial` is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{Authentication, Encryption, EncryptionMode, KeyBits, Mrru, Span, server_name};
use crate::kernel::Destination;

/// Arguments of `penstock dial`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The server: name or address, with a port after a colon if it is not 1723
    #[arg(value_parser = |text: &str| server_name(text).map(|_| text.to_owned()))]
    pub server: String,
    /// User name, with `DOMAIN\` in front if the server wants one
    #[arg(long)]
    pub user: String,
    /// File whose first line is the password [default: asked for, or read from standard input]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Name of the TUN interface [default: pptp-out1, or the next that is free]
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Send everything through the tunnel; the server stays reachable as it was
    #[arg(long, value_name = "yes|no", default_value = "no")]
    pub add_default_route: YesNo,
    /// Send this destination through the tunnel; may be given several times
    #[arg(long, value_name = "PREFIX")]
    pub route: Vec<Destination>,
    /// End after this time, such as 30s or 5m; a link that is not up by then has failed
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// Print one JSON object for each step
    #[arg(long)]
    pub json: bool,
    /// Ways to log in that the server may ask for; "chap" and "pap" only without encryption
    #[arg(long, value_name = "METHODS", value_delimiter = ',', default_value = "mschap2")]
    pub allow: Vec<Authentication>,
    /// MPPE: "require" it or have no link, "prefer" it, "allow" the server to propose it, "deny" it
    #[arg(long, default_value = "require")]
    pub encryption: Encryption,
    /// Secret bits of its keys: the strongest that the server has too
    #[arg(long, value_name = "BITS", value_delimiter = ',', default_value = "128")]
    pub encryption_strengths: Vec<KeyBits>,
    /// When they change: with each packet, every 256 packets, or as the server likes
    #[arg(long, value_name = "MODE", default_value = "stateless")]
    pub encryption_mode: EncryptionMode,
    /// Largest inner packet that we send, bytes
    #[arg(long, value_name = "BYTES", default_value = "1450",
          value_parser = clap::value_parser!(u16).range(576..=1500))]
    pub max_mtu: u16,
    /// Largest packet that we offer to receive, bytes
    #[arg(long, value_name = "BYTES", default_value = "1450",
          value_parser = clap::value_parser!(u16).range(576..=1500))]
    pub max_mru: u16,
    /// Largest packet that we put together from fragments, bytes, or "disabled"
    #[arg(long, value_name = "BYTES", default_value = "disabled")]
    pub mrru: Mrru,
    /// After this silence the server is asked whether it lives, after twice that it is gone
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub keepalive_timeout: Span,
    /// Give up if the link is not up by then
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub login_timeout: Span,
}

/// RouterOS's way to say whether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum YesNo {
    /// Do it.
    Yes,
    /// Do not.
    No,
}
