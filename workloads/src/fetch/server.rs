//! The local HTTP server: its answers depend on its settings and on the number of the item, and on nothing else.

use std::{
    io::{self, Write as _},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{Response, StatusCode, header},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::random::Random;

/// The settings of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerConfig {
    /// The delay of every answer.
    pub latency_ms: u64,
    /// The largest additional delay, which differs from item to item.
    pub jitter_ms: u64,
    /// Bytes in a body.
    pub body_bytes: u32,
    /// The number of items in a thousand that are answered with status 500.
    pub errors_per_mille: u32,
    /// Seed of bodies, jitter and errors.
    pub seed: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { latency_ms: 5, jitter_ms: 5, body_bytes: 4096, errors_per_mille: 0, seed: 42 }
    }
}

/// Serves until standard input ends, so that it never outlives the process that started it. Prints its address as one line.
///
/// `/item/N` is item N. `/redirect/N` leads to `/redirect/N-1`, and `/redirect/0` to item 0. `/never` does not answer.
///
/// # Errors
///
/// The system's error when there is no port to listen on.
pub fn serve(config: ServerConfig) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
        let router = Router::new()
            .route("/item/{index}", get(item))
            .route("/redirect/{count}", get(redirect))
            .route("/never", get(std::future::pending::<StatusCode>))
            .with_state(Arc::new(config));
        let parent_gone = async {
            let mut byte = [0];
            while tokio::io::stdin().read(&mut byte).await.is_ok_and(|count| count > 0) {}
        };
        tokio::select! {
            served = async { axum::serve(listener, router).await } => served,
            () = parent_gone => Ok(()),
        }
    })
}

async fn item(State(config): State<Arc<ServerConfig>>, Path(index): Path<u64>) -> Response<Body> {
    let mut random = Random::new(config.seed ^ index.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let jitter = random.next_u64() % (config.jitter_ms * 1000 + 1);
    let fails = random.next_u64() % 1000 < u64::from(config.errors_per_mille);
    tokio::time::sleep(Duration::from_millis(config.latency_ms) + Duration::from_micros(jitter)).await;
    let mut body = vec![0; config.body_bytes as usize];
    random.fill(&mut body);
    let mut response = Response::new(Body::from(body));
    if fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

async fn redirect(Path(count): Path<u32>) -> Response<Body> {
    let next = if count == 0 { "/item/0".to_owned() } else { format!("/redirect/{}", count - 1) };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(next) = next.parse() {
        response.headers_mut().insert(header::LOCATION, next);
    }
    response
}
