//! Tokens on the command line.

use clap::{Subcommand, ValueEnum};
use hierophant_model::records::Role;

use super::act::{in_json, print};
use super::caller::{CallError, Caller};
use super::show::Show;
use hierophant_admin_model::{MadeToken, NewToken, Token};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; its secret is printed once and kept nowhere.
    Create {
        /// Its name, such as that of the machine that will use it.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What its bearer may do.
        #[arg(long, value_enum, default_value_t = TokenRole::Worker)]
        role: TokenRole,
    },
    /// All tokens, also those that were revoked, the oldest first.
    List,
    /// Turn away whoever presents this token, from now on.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TokenRole {
    /// Be a Contemplant.
    Worker,
    /// Ask for proofs.
    Client,
    /// See what operators see.
    Read,
    /// Do what operators do.
    Act,
}

impl From<TokenRole> for Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Worker => Self::Worker,
            TokenRole::Client => Self::Client,
            TokenRole::Read => Self::Read,
            TokenRole::Act => Self::Act,
        }
    }
}

/// Does it; returns what to print.
pub(super) async fn token(
    command: &TokenCommand,
    caller: &Caller,
    json: bool,
) -> Result<String, CallError> {
    match command {
        TokenCommand::Create { name, role } => {
            let body = NewToken { name: name.clone(), role: Role::from(*role).into() };
            let made: MadeToken = caller.post("/tokens", &body).await?;
            if json {
                return Ok(in_json(&made));
            }
            // The secret alone on stdout, for scripts that put it where it belongs.
            eprintln!(
                "token {} of role {}; this is its secret, which is not shown again:",
                made.token.name, made.token.role
            );
            Ok(format!("{}\n", made.secret))
        }
        TokenCommand::List => Ok(print(&caller.get::<Vec<Token>>("/tokens", &[]).await?, json)),
        TokenCommand::Revoke { name } => {
            let revoked: Token = caller.delete(&format!("/tokens/{name}")).await?;
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
