//! The demo: one encrypted image, two nodes, one rule, one ledger, all on real parts.
//!
//! Each step uses the program as a person would, says so in one line, and returns what came of it; `tests/it` asserts that on
//! database rows, PostgreSQL's sessions and containerd's state. Everything ends with the [`Stage`].

mod cli;
mod rows;
mod stage;
pub mod steps;
mod tell;

pub use cli::{Bailiwick, Said};
pub use rows::{Leaf, Rows};
pub use stage::{Node, Stage};
pub use tell::Tell;

/// Runs all steps.
///
/// # Errors
/// The first that did not come out as it should.
pub async fn run(tell: Tell) -> anyhow::Result<()> {
    let stage = Stage::set(tell).await?;
    let image = steps::image::run(&stage)?;
    steps::estate::run(&stage, &image)?;
    let service = steps::service::run(&stage, &image).await?;
    steps::refusals::run(&stage, &image).await?;
    steps::widening::run(&stage)?;
    steps::ban::run(&stage, &service).await?;
    steps::trail::run(&stage).await?;
    stage.end();
    Ok(())
}
