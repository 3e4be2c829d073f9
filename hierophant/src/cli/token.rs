//! Commands on access tokens.

use clap::{Subcommand, ValueEnum};
use hierophant_admin_model::{MadeToken, NewToken, Token};
use hierophant_model::records::Role;

use super::client::{ApiClient, CallError};
use super::control::{in_json, print};
use super::not_empty;
use super::show::Show;

/// A command on access tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print its secret, which is not stored.
    Create {
        /// Name of the token, such as the name of the machine that will use it.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Role of the token.
        #[arg(long, value_enum, default_value_t = TokenRole::Worker)]
        role: TokenRole,
        /// Client to which a token of role client is bound: a name of `[[clients]]`. What is requested with the
        /// token belongs to this client, whatever address signs it.
        #[arg(long, value_name = "NAME", value_parser = not_empty())]
        client: Option<String>,
        /// Time after which it is no longer valid, such as 30d [default: it is valid until it is revoked].
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<std::time::Duration>,
    },
    /// List all tokens, including revoked ones, oldest first.
    List,
    /// Revoke a token: from now on it is rejected.
    Revoke {
        /// Name of the token.
        #[arg(value_parser = not_empty())]
        name: String,
    },
}

/// Role of a token.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TokenRole {
    /// Connect as a worker.
    Worker,
    /// Connect as a worker that may get private inputs.
    PrivateWorker,
    /// Request proofs.
    Client,
    /// Read the state of the network.
    Read,
    /// Read it, and send commands, but create no tokens of roles act and admin.
    Act,
    /// Read it, and send every command.
    Admin,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Worker => Self::Worker,
            TokenRole::PrivateWorker => Self::PrivateWorker,
            TokenRole::Client => Self::Client,
            TokenRole::Read => Self::Read,
            TokenRole::Act => Self::Act,
            TokenRole::Admin => Self::Admin,
        }
    }
}

/// Executes a command; returns the text to print.
pub(super) async fn execute(
    command: &TokenCommand,
    client: &ApiClient,
    json: bool,
) -> Result<String, CallError> {
    match command {
        TokenCommand::Create { name, role, client: of, expires } => {
            let body = NewToken {
                name: name.clone(),
                role: Role::from(*role).into(),
                client: of.clone(),
                expires_in_seconds: expires.map(|time| time.as_secs()),
            };
            let created: MadeToken = client.post("/tokens", &body).await?;
            if json {
                return Ok(in_json(&created));
            }
            // Only the secret goes to stdout, so that scripts can store it.
            eprintln!(
                "token {} of role {}; its secret, which is not shown again:",
                created.token.name, created.token.role
            );
            Ok(format!("{}\n", created.secret))
        }
        TokenCommand::List => Ok(print(&client.get::<Vec<Token>>("/tokens", &[]).await?, json)),
        TokenCommand::Revoke { name } => {
            let revoked: Token = client.delete(&format!("/tokens/{name}")).await?;
            Ok(print(&revoked, json))
        }
    }
}

impl Show for Token {
    fn show(&self) -> String {
        match self.revoked_at {
            Some(_) => format!("{} is revoked\n", self.name),
            None => format!("{} is valid\n", self.name),
        }
    }
}
