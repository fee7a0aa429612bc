//! `penstock lockout`: whom the running daemon has locked out.

use clap::{Args, Subcommand};
use hyper::Method;

use super::{Failure, output, runtime};
use crate::api::client::Client;
use crate::api::types::{Cleared, LockoutSelector, LockoutView};
use crate::config::{Config, Span};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List addresses and users that are locked out
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let them try again
    Clear(Clear),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Clear {
    /// A locked address, or a locked user's name
    #[arg(value_name = "ADDRESS|USER")]
    subject: Option<String>,
    /// A locked user whose name looks like an address
    #[arg(long)]
    user: Option<String>,
    /// All there are
    #[arg(long)]
    all: bool,
}

pub(super) fn run(command: Command, config: &Config) -> Result<(), Failure> {
    let client = Client::new(&config.control_socket);
    let runtime = runtime()?;
    match command {
        Command::List { json } => {
            let call = client.call(Method::GET, "/v1/lockouts", &());
            let locks: Vec<LockoutView> = runtime.block_on(call)?;
            if json {
                return Ok(output::json(&locks)?);
            }
            let rows: Vec<_> = locks.iter().map(row).collect();
            Ok(output::table(&["ADDRESS", "USER", "LEFT", "LOCKS"], &rows)?)
        }
        Command::Clear(Clear { subject, user, all }) => {
            let address = subject.as_ref().and_then(|subject| subject.parse().ok());
            let user = user.or(subject).filter(|_| address.is_none());
            let selector = LockoutSelector { address, user, all };
            let call = client.call(Method::POST, "/v1/lockouts/clear", &selector);
            let Cleared { cleared } = runtime.block_on(call)?;
            Ok(output::pairs([("cleared", cleared.to_string())])?)
        }
    }
}

fn row(lock: &LockoutView) -> Vec<String> {
    vec![
        lock.address.map_or_else(|| "-".to_owned(), |address| address.to_string()),
        lock.user.clone().unwrap_or_else(|| "-".to_owned()),
        Span::seconds(lock.left).to_string(),
        lock.locks.to_string(),
    ]
}
