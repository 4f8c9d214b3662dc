//! `cargo run --bin demo`, as root: the whole path, one line per step.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match demo::run(demo::Tell::aloud()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fixture::yield_to_interrupt();
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
