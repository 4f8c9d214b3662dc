//! The same configuration with the gate as the program of every handler; comments and order stay.

use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, TableLike, value};

use super::{
    BUILT_IN, HandlersError, Leads, OLD_HANDLERS, RUNC_KIND, Version, leads, of_text, other_type,
    text_at, version,
};

/// A changed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The new text.
    pub text: String,
    /// Handlers that still don't lead to the gate: of another kind, or with a program of their own that the gate's
    /// configuration would have to name.
    pub left: Vec<(String, Leads)>,
}

/// Makes the gate the program of every handler for which nobody chose another one.
///
/// # Errors
/// [`HandlersError`]
pub fn fix(text: &str, program: &Path) -> Result<Fixed, HandlersError> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|source| HandlersError::Syntax(Box::new(source)))?;
    let program_text = program.to_str().ok_or_else(|| other_type("BinaryName"))?;
    let version = version(document.as_table())?;
    // Whatever is ambiguous is told before anything is changed.
    of_text(text, &[], true)?;
    for section in Version::ALL {
        if section == version || super::walk(document.as_table(), &section.section())?.is_some() {
            wrap_section(&mut document, section, section == version, program_text)?;
        }
    }
    let text = document.to_string();
    let mut left = of_text(&text, &[PathBuf::from(program)], true)?;
    left.retain(|(_, leads)| *leads != Leads::Gate);
    Ok(Fixed { text, left })
}

fn wrap_section(
    document: &mut DocumentMut,
    section: Version,
    with_built_in: bool,
    program: &str,
) -> Result<(), HandlersError> {
    let mut at: &mut dyn TableLike = document.as_table_mut();
    for key in section.section() {
        at = made(at, key, true)?;
    }
    for old in OLD_HANDLERS {
        if let Some(handler) = at.get_mut(old).and_then(Item::as_table_like_mut)
            && text_at(handler, "runtime_type")?.is_some_and(|kind| !kind.is_empty())
        {
            wrap(handler, program)?;
        }
    }
    let runtimes = made(at, "runtimes", true)?;
    if with_built_in && !runtimes.contains_key(BUILT_IN) {
        let handler = made(runtimes, BUILT_IN, false)?;
        handler.insert("runtime_type", value(RUNC_KIND));
    }
    for (_, item) in runtimes.iter_mut() {
        let handler = item
            .as_table_like_mut()
            .ok_or_else(|| other_type("runtimes"))?;
        wrap(handler, program)?;
    }
    Ok(())
}

fn wrap(handler: &mut dyn TableLike, program: &str) -> Result<(), HandlersError> {
    let chosen = match leads(handler, &[])? {
        Leads::BuiltIn => false,
        // By this name the built-in program is found, too.
        Leads::Program(name) => name != BUILT_IN,
        Leads::Gate | Leads::OtherRuntime(_) => true,
    };
    if chosen {
        return Ok(());
    }
    let options = made(handler, "options", false)?;
    match options.get_mut("BinaryName").and_then(Item::as_value_mut) {
        // What stands around the value, such as a comment, stays.
        Some(old) => {
            let decor = old.decor().clone();
            *old = program.into();
            *old.decor_mut() = decor;
        }
        None => {
            options.insert("BinaryName", value(program));
        }
    }
    Ok(())
}

/// The table under a key, made if it is missing; one without values of its own gets no heading.
fn made<'a>(
    of: &'a mut dyn TableLike,
    key: &str,
    is_implicit: bool,
) -> Result<&'a mut dyn TableLike, HandlersError> {
    let empty = || {
        let mut table = Table::new();
        table.set_implicit(is_implicit);
        Item::Table(table)
    };
    of.entry(key)
        .or_insert_with(empty)
        .as_table_like_mut()
        .ok_or_else(|| other_type(key))
}
