//! The one table of codes: what a caller sees, over HTTP, gRPC and as an exit code, and whose fault it is.

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Caller,
    /// Nobody's: policy said no.
    Nobody,
    /// The server's, or something that it depends on.
    Server,
}

/// A stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Policy, a check or an approval rule said no; it is on record.
    Denied,
    /// No credential, or one that is not accepted.
    Unauthenticated,
    /// An authenticated caller without the right to this endpoint.
    Forbidden,
    /// The request can't be read.
    Malformed,
    /// There is no such thing.
    NotFound,
    /// The state changed meanwhile: read again and try again.
    Conflict,
    /// What was sent is valid in form but refused in content, such as an estate with errors.
    Invalid,
    /// Too many requests.
    Busy,
    /// Something needed did not answer; nothing was decided.
    Unavailable,
    /// A defect, or damaged state.
    Broken,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeRow {
    /// The code.
    pub code: Code,
    /// Its name on the wire.
    pub name: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC status.
    pub grpc: i32,
    /// Exit code of the command line.
    pub exit: u8,
    /// Whose fault.
    pub fault: Fault,
    /// Whether the same request may succeed later.
    pub retry: bool,
}

const fn row(
    code: Code,
    name: &'static str,
    http: u16,
    grpc: i32,
    exit: u8,
    fault: Fault,
    retry: bool,
) -> CodeRow {
    CodeRow {
        code,
        name,
        http,
        grpc,
        exit,
        fault,
        retry,
    }
}

/// All rows, in the order of [`Code`].
pub const CODES: [CodeRow; 10] = [
    row(Code::Denied, "denied", 403, 7, 3, Fault::Nobody, false),
    row(
        Code::Unauthenticated,
        "unauthenticated",
        401,
        16,
        3,
        Fault::Caller,
        false,
    ),
    row(
        Code::Forbidden,
        "forbidden",
        403,
        7,
        3,
        Fault::Caller,
        false,
    ),
    row(
        Code::Malformed,
        "malformed",
        400,
        3,
        2,
        Fault::Caller,
        false,
    ),
    row(Code::NotFound, "not-found", 404, 5, 1, Fault::Caller, false),
    row(Code::Conflict, "conflict", 409, 10, 1, Fault::Caller, true),
    row(Code::Invalid, "invalid", 422, 9, 1, Fault::Caller, false),
    row(Code::Busy, "busy", 429, 8, 5, Fault::Caller, true),
    row(
        Code::Unavailable,
        "unavailable",
        503,
        14,
        5,
        Fault::Server,
        true,
    ),
    row(Code::Broken, "broken", 500, 13, 1, Fault::Server, false),
];

impl Code {
    /// Its row.
    pub fn row(self) -> CodeRow {
        CODES
            .into_iter()
            .find(|row| row.code == self)
            .unwrap_or(CODES[9])
    }

    /// The code of that name.
    pub fn named(name: &str) -> Option<Self> {
        CODES
            .into_iter()
            .find(|row| row.name == name)
            .map(|row| row.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for row in CODES {
            assert_eq!(Code::named(row.name), Some(row.code));
            assert_eq!(row.code.row(), row);
        }
    }
}
