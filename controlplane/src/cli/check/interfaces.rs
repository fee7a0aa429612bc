//! Interfaces that the configuration names: those that have to be there, and those that we are to
//! make, whose names must be free.

use std::fs;

use dataplane::DataPlane;
use dataplane::api::config::Remark;

use super::{Finding, error, fine, warning};
use crate::config::{Client, Config};
use crate::daemon::plan::data_plane;
use crate::host::{interface_exists, is_bridge};

pub(super) fn all(config: &Config, running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let tun = &config.dataplane.tun;
    if !running && interface_exists(tun) {
        findings.push(error(format!("interface {tun} exists already: set another `tun`")));
    }
    findings.extend(DataPlane::inspect(&data_plane(config)).into_iter().map(
        |remark| match remark {
            Remark::Fine(text) => fine(text),
            Remark::Warning(text) => warning(text),
            Remark::Refusal(text) => error(text),
        },
    ));
    for name in &config.server.proxy_arp {
        findings.push(if interface_exists(name) {
            fine(format!("proxy-arp: interface {name} exists"))
        } else {
            warning(format!(
                "proxy-arp: interface {name} does not exist: nobody there will find subscribers"
            ))
        });
    }
    findings.extend(bridges(config));
    findings.extend(clients(config));
    if !running {
        findings.extend(taken(config));
    }
    findings
}

fn bridges(config: &Config) -> impl Iterator<Item = Finding> {
    config.profile.iter().filter_map(|profile| {
        let bridge = profile.bridge.as_ref().filter(|bridge| !bridge.is_empty())?;
        let name = &profile.name;
        Some(if is_bridge(bridge) {
            fine(format!("profile {name}: bridge {bridge} exists"))
        } else if interface_exists(bridge) {
            warning(format!("profile {name}: {bridge} is no bridge: sessions are not bridged"))
        } else {
            warning(format!(
                "profile {name}: bridge {bridge} does not exist: sessions are not bridged \
                 (ip link add {bridge} type bridge)"
            ))
        })
    })
}

/// What each client logs in with.
fn clients(config: &Config) -> impl Iterator<Item = Finding> {
    let enabled = config.client.iter().filter(|client| !client.disabled);
    enabled.filter_map(|client| {
        let Client { name, password_file, password, .. } = client;
        match (password_file, password) {
            (Some(file), _) => match fs::File::open(file) {
                Ok(_) => None,
                Err(reason) => {
                    let file = file.display();
                    Some(error(format!("client {name}: `password-file` {file}: {reason}")))
                }
            },
            (None, Some(_)) => None,
            (None, None) => Some(warning(format!(
                "client {name} has neither `password` nor `password-file`: it logs in with an \
                 empty password"
            ))),
        }
    })
}

/// Interfaces of clients and bindings are made by us: somebody else's stands in the way.
fn taken(config: &Config) -> impl Iterator<Item = Finding> {
    let clients = config.client.iter().filter(|client| !client.disabled);
    let bindings = config.binding.iter().filter(|binding| !binding.disabled);
    let names = clients.map(|client| ("client", &client.name));
    let names = names.chain(bindings.map(|binding| ("binding", &binding.name)));
    names.filter(|(_, name)| interface_exists(name)).map(|(whose, name)| {
        error(format!("{whose} {name}: there is an interface of that name already"))
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn said(text: &str) -> String {
        let config = Config::parse(text).unwrap();
        let mut said = String::new();
        for finding in all(&config, false) {
            writeln!(said, "{finding}").unwrap();
        }
        said
    }

    #[test]
    fn what_is_not_there_and_what_is_in_the_way_is_said() {
        insta::assert_snapshot!(said(
            r#"
            [server]
            proxy-arp = ["nosuch0"]
            [[profile]]
            name = "default"
            local-address = "10.99.0.1"
            [[profile]]
            name = "office"
            bridge = "nosuch1"
            [[client]]
            name = "keyless"
            connect-to = "192.0.2.1"
            user = "u"
            [[client]]
            name = "lost-file"
            connect-to = "192.0.2.1"
            user = "u"
            password-file = "/nonexistent/password"
            [[client]]
            name = "off"
            connect-to = "192.0.2.1"
            user = "u"
            disabled = true
            "#
        ));
    }
}
