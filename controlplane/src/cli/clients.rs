//! `penstock client`: RouterOS's `/interface pptp-client`, through the running daemon.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use zeroize::Zeroizing;

use super::{Failure, output, password, runtime};
use crate::api::client::Client as Api;
use crate::api::clients::{Added, ClientChange, ClientView};
use crate::config::{Authentication, Client, Config, Mrru, Secret, Span, server_name};
use crate::terms::Route;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a client and dial; its password is asked for, or read from standard input
    Add(Add),
    /// Change a client and dial anew; what is not named stays as it is
    Set(Set),
    /// Remove a client; its call ends
    Remove {
        /// The client's name
        name: String,
    },
    /// Dial, from now on
    Enable {
        /// The client's name
        name: String,
    },
    /// End the call, and dial no more
    Disable {
        /// The client's name
        name: String,
    },
    /// List clients; flags: X disabled, D declared in the configuration file, R running
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a client's status each second, until Ctrl-C
    Monitor {
        /// The client's name
        name: String,
        /// Show it once
        #[arg(long)]
        once: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The client's and its interface's name [default: the next free pptp-outN]
    #[arg(long)]
    name: Option<String>,
    /// The server: address or host name, with a port after a colon if it is not 1723
    #[arg(long, value_name = "SERVER", value_parser = server)]
    connect_to: String,
    /// User name, with `DOMAIN\` in front if the server wants one
    #[arg(long)]
    user: String,
    #[command(flatten)]
    more: More,
    /// Do not dial until enabled
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The client's name
    name: String,
    /// Another server
    #[arg(long, value_name = "SERVER", value_parser = server)]
    connect_to: Option<String>,
    /// Another user name
    #[arg(long)]
    user: Option<String>,
    /// Ask for a new password, or read it from standard input
    #[arg(long)]
    password: bool,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, Args)]
struct More {
    /// File whose first line is the password; the daemon reads it before each call
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Profile whose encryption and MSS clamping hold
    #[arg(long)]
    profile: Option<String>,
    /// Ways to log in that we follow, separated by commas
    #[arg(long, value_delimiter = ',')]
    allow: Option<Vec<Authentication>>,
    /// Send everything through the tunnel (yes) or not (no); the server stays reachable as it was
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    add_default_route: Option<bool>,
    /// Metric of that route; 0: it comes before all other default routes
    #[arg(long, value_name = "METRIC")]
    default_route_distance: Option<u32>,
    /// Network that goes through the tunnel; may be given several times, "" for none
    #[arg(long, value_name = "PREFIX")]
    route: Option<Vec<String>>,
    /// Largest inner packet that we send, bytes
    #[arg(long, value_name = "BYTES")]
    max_mtu: Option<u16>,
    /// Largest packet that we offer to receive, bytes
    #[arg(long, value_name = "BYTES")]
    max_mru: Option<u16>,
    /// Largest packet that we put together from fragments, bytes, or "disabled"
    #[arg(long, value_name = "BYTES")]
    mrru: Option<Mrru>,
    /// After this silence the server is asked whether it lives, after twice that it is gone
    #[arg(long, value_name = "TIME")]
    keepalive_timeout: Option<Span>,
    /// A note
    #[arg(long)]
    comment: Option<String>,
}

fn server(text: &str) -> Result<String, String> {
    server_name(text).map(|_| text.to_owned())
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("say yes or no".to_owned()),
    }
}

impl More {
    fn into_change(self) -> Result<ClientChange, Failure> {
        let routes = self.route.map(|routes| {
            let named = routes.iter().filter(|text| !text.is_empty());
            named.map(|text| text.parse::<Route>()).collect::<Result<Vec<_>, _>>()
        });
        // The daemon was started elsewhere.
        let password_file = self.password_file.map(std::path::absolute).transpose()?;
        Ok(ClientChange {
            password_file,
            profile: self.profile,
            allow: self.allow,
            add_default_route: self.add_default_route,
            default_route_distance: self.default_route_distance,
            routes: routes.transpose().map_err(Failure::Usage)?,
            max_mtu: self.max_mtu,
            max_mru: self.max_mru,
            mrru: self.mrru,
            keepalive_timeout: self.keepalive_timeout,
            comment: self.comment,
            ..ClientChange::default()
        })
    }
}

pub(super) fn run(command: Command, config: &Config) -> Result<(), Failure> {
    let api = Api::new(&config.control_socket);
    let runtime = runtime()?;
    let change = |name: &str, change: &ClientChange| -> Result<(), Failure> {
        Ok(runtime.block_on(api.call(Method::PATCH, &path(name), change))?)
    };
    let clients = || -> Result<Vec<ClientView>, Failure> {
        Ok(runtime.block_on(api.call(Method::GET, "/v1/clients", &()))?)
    };
    match command {
        Command::Add(add) => {
            let client = add.into_client()?;
            let added: Added = runtime.block_on(api.call(Method::POST, "/v1/clients", &client))?;
            Ok(output::pairs([("name", added.name)])?)
        }
        Command::Set(set) => {
            let (name, wanted) = set.into_change()?;
            change(&name, &wanted)
        }
        Command::Remove { name } => {
            Ok(runtime.block_on(api.call(Method::DELETE, &path(&name), &()))?)
        }
        Command::Enable { name } => {
            change(&name, &ClientChange { disabled: Some(false), ..ClientChange::default() })
        }
        Command::Disable { name } => {
            change(&name, &ClientChange { disabled: Some(true), ..ClientChange::default() })
        }
        Command::List { json } => {
            let clients = clients()?;
            if json { Ok(output::json(&clients)?) } else { list(&clients) }
        }
        Command::Monitor { name, once, json } => loop {
            let found = clients()?.into_iter().find(|client| client.name == name);
            let client =
                found.ok_or_else(|| Failure::NotFound(format!("there is no client `{name}`")))?;
            if json {
                output::json(&client)?;
            } else {
                monitor(&client)?;
            }
            if once {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        },
    }
}

impl Add {
    fn into_client(self) -> Result<Client, Failure> {
        let mut change = self.more.into_change()?;
        if change.password_file.is_none() {
            change.password = Some(secret(&self.user)?);
        }
        let mut client = Client::new(self.name.unwrap_or_default(), self.connect_to, self.user);
        client.disabled = self.disabled;
        change.apply(&mut client);
        Ok(client)
    }
}

impl Set {
    fn into_change(self) -> Result<(String, ClientChange), Failure> {
        let mut change = self.more.into_change()?;
        change.connect_to = self.connect_to;
        change.user = self.user;
        if self.password {
            change.password = Some(secret(&self.name)?);
        }
        if change == ClientChange::default() {
            let reason = "say what to change; see penstock client set --help";
            return Err(Failure::Usage(reason.to_owned()));
        }
        Ok((self.name, change))
    }
}

fn secret(whose: &str) -> Result<Secret, Failure> {
    password::new(whose).map(|password: Zeroizing<String>| Secret::new(password))
}

fn list(clients: &[ClientView]) -> Result<(), Failure> {
    let rows: Vec<_> = clients
        .iter()
        .map(|client| {
            vec![
                flags(client),
                client.name.clone(),
                client.connect_to.clone(),
                client.user.clone(),
                client.status.clone(),
                or_dash(client.uptime.map(Span::seconds)),
                or_dash(client.encoding.as_ref()),
                or_dash(client.mtu),
                client.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["", "NAME", "CONNECT-TO", "USER", "STATUS", "UPTIME", "ENCODING", "MTU", "REASON"];
    Ok(output::table(&head, &rows)?)
}

fn flags(client: &ClientView) -> String {
    let declared = client.source == "configuration";
    [(client.disabled, 'X'), (declared, 'D'), (client.running, 'R')]
        .into_iter()
        .filter_map(|(is, flag)| is.then_some(flag))
        .collect()
}

fn monitor(client: &ClientView) -> Result<(), Failure> {
    let mut pairs = vec![("status", client.status.clone())];
    if let Some(reason) = &client.reason {
        pairs.push(("reason", output::shown(reason)));
    }
    if let Some(next) = client.next_call {
        pairs.push(("next-call", format!("in {next:.0}s")));
    }
    if client.running {
        let addresses = client.dns_server.iter().map(ToString::to_string);
        let servers = addresses.collect::<Vec<_>>().join(", ");
        pairs.extend([
            ("uptime", or_dash(client.uptime.map(Span::seconds))),
            ("idle-time", or_dash(client.idle_time.map(Span::seconds))),
            ("encoding", or_dash(client.encoding.as_ref())),
            ("mtu", or_dash(client.mtu)),
            ("mru", or_dash(client.mru)),
            ("server-address", or_dash(client.server_address.map(|server| server.ip()))),
            ("local-address", or_dash(client.local_address)),
            ("remote-address", or_dash(client.remote_address)),
            ("dns-server", if servers.is_empty() { "-".to_owned() } else { servers }),
            ("rx-bytes", client.rx_bytes.to_string()),
            ("tx-bytes", client.tx_bytes.to_string()),
        ]);
    }
    Ok(output::pairs(pairs)?)
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn path(name: &str) -> String {
    format!("/v1/clients/{}", super::users::escaped(name))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Line::try_parse_from([&["client"], words].concat()).map(|line| line.command)
    }

    #[test]
    fn a_server_that_cannot_be_is_a_wrong_command_line() {
        for server in ["host:99999", "192.0.2.2:0", "224.0.0.1", "0.0.0.0", "255.255.255.255"] {
            let add = parse(&["add", "--connect-to", server, "--user", "u"]).unwrap_err();
            let set = parse(&["set", "pptp-out1", "--connect-to", server]).unwrap_err();
            assert_eq!((add.exit_code(), set.exit_code()), (2, 2), "{server}");
        }
        parse(&["add", "--connect-to", "vpn.example.net:1724", "--user", "u"]).unwrap();
    }

    #[test]
    fn the_daemon_is_told_a_password_file_from_the_root() {
        let set = parse(&["set", "pptp-out1", "--password-file", "secrets/one"]).unwrap();
        let Command::Set(set) = set else { panic!("{set:?}") };
        let (_, change) = set.into_change().unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(change.password_file, Some(here.join("secrets/one")));
    }
}
