//! Headers of extension as POSIX.1-2001 has them: lines of `LENGTH NAME=VALUE`.

use super::{Extension, TarError, set_once};

/// Takes over what a header says about the next entry.
pub(super) fn apply(bytes: &[u8], extension: &mut Extension) -> Result<(), TarError> {
    for (name, value) in records(bytes)? {
        match name {
            "path" => set_once(&mut extension.name, value.to_owned())?,
            "linkpath" => set_once(&mut extension.link, value.to_owned())?,
            "size" => set_once(&mut extension.size, size(value)?)?,
            other => refuse_holes(other)?,
        }
    }
    Ok(())
}

/// A header about all entries may say nothing that changes what they are: readers disagree whether it counts.
pub(super) fn check_global(bytes: &[u8]) -> Result<(), TarError> {
    for (name, _) in records(bytes)? {
        if matches!(name, "path" | "linkpath" | "size") {
            return Err(TarError::Malformed("one header names all entries"));
        }
        refuse_holes(name)?;
    }
    Ok(())
}

fn refuse_holes(name: &str) -> Result<(), TarError> {
    if name.starts_with("GNU.sparse") {
        return Err(TarError::Malformed("it holds a file with holes"));
    }
    Ok(())
}

fn size(value: &str) -> Result<u64, TarError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or(TarError::Malformed("a size is no number"))
}

fn records(bytes: &[u8]) -> Result<Vec<(&str, &str)>, TarError> {
    const MALFORMED: TarError = TarError::Malformed("a header of extension is malformed");
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (record, after) = record(rest).ok_or(MALFORMED)?;
        found.push(record);
        rest = after;
    }
    Ok(found)
}

fn record(bytes: &[u8]) -> Option<((&str, &str), &[u8])> {
    let blank = bytes
        .iter()
        .take(LENGTH_DIGITS)
        .position(|byte| *byte == b' ')?;
    let length = std::str::from_utf8(bytes.get(..blank)?).ok()?;
    let length: usize = length
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(length)?
        .parse()
        .ok()?;
    let (record, after) = bytes.split_at_checked(length)?;
    let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
    let (name, value) = std::str::from_utf8(record).ok()?.split_once('=')?;
    (!name.is_empty() && !value.contains('\0')).then_some(((name, value), after))
}

const LENGTH_DIGITS: usize = 9;
