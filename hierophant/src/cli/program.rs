//! Commands on registered programs.

use clap::{Args, Subcommand};
use hierophant_admin_model::{Done, NewOwner, Reason};

use super::client::{ApiClient, CallError};
use super::control::print;

/// A command on registered programs.
#[derive(Debug, Subcommand)]
pub enum ProgramCommand {
    /// Remove a program: the next client that needs it uploads and registers it again.
    Remove {
        /// Program id.
        #[arg(value_name = "VK_HASH")]
        id: String,
    },
    /// Make another client the owner of a program.
    Reassign {
        /// Program id.
        #[arg(value_name = "VK_HASH")]
        id: String,
        /// The new owner.
        #[command(flatten)]
        owner: NewOwnerArgs,
    },
}

/// Owner of a program.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct NewOwnerArgs {
    /// Address of the new owner.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Client that becomes the owner: a name of `[[clients]]`.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

/// Executes a command; returns the text to print.
pub(super) async fn execute(
    command: &ProgramCommand,
    client: &ApiClient,
    json: bool,
) -> Result<String, CallError> {
    let done: Done = match command {
        ProgramCommand::Remove { id } => {
            client.post(&format!("/programs/{id}/remove"), &Reason::default()).await?
        }
        ProgramCommand::Reassign { id, owner } => {
            let NewOwnerArgs { address, client: name } = owner;
            let body = NewOwner { address: address.clone(), client: name.clone() };
            client.post(&format!("/programs/{id}/reassign"), &body).await?
        }
    };
    Ok(print(&done, json))
}
