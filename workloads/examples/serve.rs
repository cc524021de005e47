//! The local server of the `fetch` workload, by itself: `cargo run -p workloads --example serve`. Ends with its input.

fn main() -> std::io::Result<()> {
    workloads::fetch::serve(workloads::fetch::ServerConfig { errors_per_mille: 200, ..Default::default() })
}
