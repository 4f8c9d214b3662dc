//! The check that arrows between crates only point down, and that files keep the house rules. Run by `make check`.

mod arrows;
mod files;
mod metadata;

use std::process::ExitCode;

use metadata::Workspace;

fn main() -> ExitCode {
    let workspace = match Workspace::read() {
        Ok(workspace) => workspace,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut complaints = arrows::complaints(&workspace.packages);
    complaints.extend(files::complaints(&workspace));
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    if complaints.is_empty() {
        eprintln!(
            "layers: {} crates, every arrow points down",
            workspace.packages.len()
        );
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
