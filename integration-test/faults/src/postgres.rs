//! A Postgres server of one case, reached over a link that can break.

use std::sync::Arc;

use anyhow::{Context, Result};
use test_peers::postgres::Server;

use test_peers::relay::{self, Relay};

/// A server with one database. It ends when dropped.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// The link by which Hierophant reaches it.
    pub(crate) link: Relay,
    server: Arc<Server>,
    database: String,
}

impl Postgres {
    /// Starts one with an empty database.
    pub(crate) async fn start() -> Result<Self> {
        let starting = tokio::task::spawn_blocking(|| {
            let server = Server::start();
            let database = server.create_database();
            (Arc::new(server), database)
        });
        let (server, database) = starting.await.context("no Postgres server")?;
        let link = Relay::before(relay::Server::Socket(server.socket())).await?;
        Ok(Self { link, server, database })
    }

    /// How Hierophant reaches the database, over the link.
    pub(crate) fn url(&self) -> String {
        self.server.url_by_way_of(self.link.address.port(), &self.database)
    }

    /// How the suite reaches it, whatever the link does.
    pub(crate) fn direct_url(&self) -> String {
        self.server.url(&self.database)
    }

    /// Stops the server at once, without notice to its clients.
    pub(crate) async fn stop(&self) -> Result<()> {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || server.stop()).await.context("Postgres does not stop")
    }

    /// Starts it again, on the same data.
    pub(crate) async fn start_again(&self) -> Result<()> {
        let server = Arc::clone(&self.server);
        let starting = tokio::task::spawn_blocking(move || server.start_again());
        starting.await.context("Postgres does not start again")
    }
}
