//! An error of local work that knows a way on: what is shown behind `hint:`, and the exit code.

use std::fmt;

use crate::output::Exit;

/// A message, what to do next, and the exit code. Use it as an error or as the context of one.
#[derive(Debug)]
pub(crate) struct Advice {
    message: String,
    hint: String,
    exit: Exit,
}

impl Advice {
    /// Something failed. Exit code 1.
    pub(crate) fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            exit: Exit::Failed,
        }
    }

    /// What was asked or written down can't be understood. Exit code 2.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::failed(message, hint)
        }
    }

    /// As an error without a cause.
    pub(crate) fn error(self) -> anyhow::Error {
        anyhow::Error::msg(self)
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do next.
    pub(crate) fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_found_as_an_error_and_as_the_context_of_one() {
        let alone = Advice::failed("no", "go on").error();
        assert_eq!(alone.downcast_ref::<Advice>().unwrap().hint(), "go on");
        let context = anyhow::anyhow!("cause").context(Advice::usage("no", "go on"));
        assert_eq!(context.to_string(), "no");
        assert_eq!(
            context.downcast_ref::<Advice>().unwrap().exit(),
            Exit::Usage
        );
    }
}
