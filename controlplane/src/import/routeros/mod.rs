//! An `/export` of RouterOS 6 or 7: `/ppp`, `/interface pptp-server`, `pptp-client`, `/ip pool`,
//! `/ipv6 pool` and what belongs to them.
//!
//! Properties keep their names, for ours are RouterOS's. What an export leaves out is RouterOS's
//! default, and where ours differs the report says so.

mod lexer;
mod ppp;
mod properties;
mod radius;
mod tables;

use super::mend::mend;
use super::{Imported, unmarked};
use lexer::Command;

/// Reads an export.
#[must_use]
pub fn import(bytes: &[u8]) -> Imported {
    let (commands, bad) = lexer::commands(unmarked(bytes));
    let mut imported = Imported::default();
    for (line, why) in bad {
        imported.report.left(line, "unreadable".to_owned(), why);
    }
    for command in &commands {
        take(command, &mut imported);
    }
    imported.report.lines.sort_by_key(|line| line.number);
    tables::complete(&commands, &mut imported);
    mend(&mut imported.draft, &mut imported.report);
    imported
}

fn take(command: &Command, imported: &mut Imported) {
    match command.menu.as_str() {
        "ip pool" => tables::pool(command, imported),
        "ipv6 pool" => tables::ipv6_pool(command, imported),
        "ppp profile" => ppp::profile(command, imported),
        "ppp secret" => ppp::secret(command, imported),
        "ppp aaa" => radius::aaa(command, imported),
        "radius" => radius::server(command, imported),
        "radius incoming" => radius::incoming(command, imported),
        "interface pptp-server server" => tables::server(command, imported),
        "interface pptp-server" => tables::binding(command, imported),
        "interface pptp-client" => tables::client(command, imported),
        "interface ethernet" | "interface bridge" | "interface vlan"
            if command
                .properties
                .iter()
                .any(|(key, value)| key == "arp" && value == "proxy-arp") =>
        {
            tables::proxy_arp(command, imported);
        }
        other => imported.report.foreign(command.line, format!("/{other}")),
    }
}
