//! `penstock binding`: RouterOS's `/interface pptp-server`, through the running daemon.

use clap::Subcommand;
use hyper::Method;

use super::{Failure, output, runtime};
use crate::api::client::Client as Api;
use crate::api::clients::Added;
use crate::api::types::{BindingChange, BindingView};
use crate::config::{Binding, Config};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an interface for a user; the user's next session has it
    Add {
        /// Whose it is
        #[arg(long)]
        user: String,
        /// The interface's name, 1 to 15 bytes [default: the next free pptp-inN]
        #[arg(long)]
        name: Option<String>,
        /// A note
        #[arg(long, default_value = "")]
        comment: String,
        /// No interface until enabled
        #[arg(long)]
        disabled: bool,
    },
    /// Change a binding; a session of another user that has the interface ends
    Set {
        /// The interface's name
        name: String,
        /// Another user
        #[arg(long)]
        user: Option<String>,
        /// A note
        #[arg(long)]
        comment: Option<String>,
    },
    /// Remove a binding; the session that has the interface ends
    Remove {
        /// The interface's name
        name: String,
    },
    /// Make the interface
    Enable {
        /// The interface's name
        name: String,
    },
    /// Take the interface away; the session that has it ends
    Disable {
        /// The interface's name
        name: String,
    },
    /// List bindings; flags: X disabled, D declared in the configuration file, R running
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command, config: &Config) -> Result<(), Failure> {
    let api = Api::new(&config.control_socket);
    let runtime = runtime()?;
    let change = |name: &str, change: BindingChange| -> Result<(), Failure> {
        Ok(runtime.block_on(api.call(Method::PATCH, &path(name), &change))?)
    };
    match command {
        Command::Add { user, name, comment, disabled } => {
            let binding = Binding { name: name.unwrap_or_default(), user, disabled, comment };
            let added: Added =
                runtime.block_on(api.call(Method::POST, "/v1/bindings", &binding))?;
            Ok(output::pairs([("name", added.name)])?)
        }
        Command::Set { user: None, comment: None, .. } => {
            let reason = "say what to change; see penstock binding set --help";
            Err(Failure::Usage(reason.to_owned()))
        }
        Command::Set { name, user, comment } => {
            change(&name, BindingChange { user, comment, disabled: None })
        }
        Command::Remove { name } => {
            Ok(runtime.block_on(api.call(Method::DELETE, &path(&name), &()))?)
        }
        Command::Enable { name } => {
            change(&name, BindingChange { disabled: Some(false), ..BindingChange::default() })
        }
        Command::Disable { name } => {
            change(&name, BindingChange { disabled: Some(true), ..BindingChange::default() })
        }
        Command::List { json } => {
            let bindings: Vec<BindingView> =
                runtime.block_on(api.call(Method::GET, "/v1/bindings", &()))?;
            if json { Ok(output::json(&bindings)?) } else { list(&bindings) }
        }
    }
}

fn list(bindings: &[BindingView]) -> Result<(), Failure> {
    let rows: Vec<_> = bindings
        .iter()
        .map(|binding| {
            let declared = binding.source == "configuration";
            let flags = [(binding.disabled, 'X'), (declared, 'D'), (binding.running, 'R')];
            vec![
                flags.into_iter().filter_map(|(is, flag)| is.then_some(flag)).collect(),
                binding.name.clone(),
                binding.user.clone(),
                binding.comment.clone(),
            ]
        })
        .collect();
    Ok(output::table(&["", "NAME", "USER", "COMMENT"], &rows)?)
}

fn path(name: &str) -> String {
    format!("/v1/bindings/{}", super::users::escaped(name))
}
