//! SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677, stored as in RFC 5803): what a server may know about a password.
//!
//! The client makes a [`Password`] and sends its [`Verifier`]. The database stores the verifier and recognises the password;
//! whoever reads the verifier cannot log in with it, and 256 random bits are not guessed.

use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A password. Known to the workload that uses it and to nobody else.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

/// Sixteen random bytes that belong to one verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt([u8; SALT]);

/// How often the password is hashed: each login pays it, and so does each guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Iterations(NonZeroU32);

/// What the database keeps. It recognises the password and can pose as the database to its user; it cannot log in.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Verifier {
    #[zeroize(skip)]
    iterations: Iterations,
    #[zeroize(skip)]
    salt: Salt,
    stored_key: [u8; KEY],
    server_key: [u8; KEY],
}

/// A password or verifier cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// Fault: whoever chose the password.
    #[error("a password is 1 to 128 printable ASCII characters")]
    Password,
    /// Fault: whoever chose the count.
    #[error("iterations are between {MOST_FEW} and {MOST_MANY}")]
    Iterations,
    /// Fault: the client's that sent it.
    #[error(
        "a verifier is `SCRAM-SHA-256$iterations:salt$stored-key:server-key` with a salt of 16 bytes and keys of 32, in canonical base64"
    )]
    Verifier,
}

/// Derives the verifier of a password.
#[must_use]
pub fn verifier(password: &Password, salt: Salt, iterations: Iterations) -> Verifier {
    //= RFC 5802 section 3: SaltedPassword := Hi(Normalize(password), salt, i)
    let mut salted = Zeroizing::new([0u8; KEY]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations.0,
        &salt.0,
        password.0.as_bytes(),
        salted.as_mut(),
    );
    let client_key = Zeroizing::new(mac(salted.as_ref(), b"Client Key"));
    Verifier {
        iterations,
        salt,
        stored_key: sha256(client_key.as_ref()),
        server_key: mac(salted.as_ref(), b"Server Key"),
    }
}

impl Password {
    /// A password from 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A password that was chosen elsewhere. Only what SASLprep (RFC 4013) leaves as it is.
    ///
    /// # Errors
    /// [`ScramError::Password`] when it is empty, too long, or not printable ASCII.
    pub fn from_text(text: String) -> Result<Self, ScramError> {
        let text = Zeroizing::new(text);
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if printable && (1..=128).contains(&text.len()) {
            Ok(Self(text.as_str().to_owned()))
        } else {
            Err(ScramError::Password)
        }
    }

    /// The password itself, for whoever logs in.
    #[must_use]
    pub fn expose_password(&self) -> &str {
        &self.0
    }
}

impl Salt {
    /// From random bytes, new for each verifier.
    #[must_use]
    pub const fn from_random(bytes: [u8; SALT]) -> Self {
        Self(bytes)
    }
}

impl Iterations {
    /// What PostgreSQL itself uses; enough for a random password.
    pub const DEFAULT: Self = Self(match NonZeroU32::new(MOST_FEW) {
        Some(count) => count,
        None => NonZeroU32::MIN,
    });

    /// A count within sane limits.
    ///
    /// # Errors
    /// [`ScramError::Iterations`] beyond them.
    pub fn new(count: u32) -> Result<Self, ScramError> {
        let count =
            NonZeroU32::new(count).filter(|count| (MOST_FEW..=MOST_MANY).contains(&count.get()));
        count.map(Self).ok_or(ScramError::Iterations)
    }
}

impl Verifier {
    /// The verifier as PostgreSQL takes it for a password.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let Self {
            iterations,
            salt,
            stored_key,
            server_key,
        } = self;
        Zeroizing::new(format!(
            "{MECHANISM}${}:{}${}:{}",
            iterations.0,
            STANDARD.encode(salt.0),
            STANDARD.encode(stored_key),
            STANDARD.encode(server_key)
        ))
    }
}

/// From a client: nothing but the one canonical form passes, so what reaches a statement is ours, letter by letter.
///
/// PostgreSQL would take any other text for a password in the clear.
impl FromStr for Verifier {
    type Err = ScramError;

    fn from_str(text: &str) -> Result<Self, ScramError> {
        Self::read(text)
            .filter(|verifier| verifier.expose_text().as_str() == text)
            .ok_or(ScramError::Verifier)
    }
}

impl Verifier {
    fn read(text: &str) -> Option<Self> {
        if text.len() > MOST_BYTES {
            return None;
        }
        let rest = text.strip_prefix(MECHANISM)?.strip_prefix('$')?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: Iterations::new(iterations.parse().ok()?).ok()?,
            salt: Salt(bytes(salt)?),
            stored_key: bytes(stored_key)?,
            server_key: bytes(server_key)?,
        })
    }
}

const MECHANISM: &str = "SCRAM-SHA-256";
const KEY: usize = 32;
const SALT: usize = 16;
const MOST_FEW: u32 = 4096;
const MOST_MANY: u32 = 1_000_000;
/// The longest canonical form, with seven digits of iterations.
const MOST_BYTES: usize = 142;

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn mac(key: &[u8], message: &[u8]) -> [u8; KEY] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    fixed(tag.as_ref())
}

fn sha256(message: &[u8]) -> [u8; KEY] {
    fixed(digest::digest(&digest::SHA256, message).as_ref())
}

/// SHA-256 and its HMAC are 32 bytes long.
fn fixed(bytes: &[u8]) -> [u8; KEY] {
    let mut array = [0; KEY];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The exchange of RFC 7677 section 3.
    const AUTH_MESSAGE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn pencil() -> Verifier {
        let salt = Salt::from_random(bytes("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap());
        verifier(
            &Password::from_text("pencil".into()).unwrap(),
            salt,
            Iterations::DEFAULT,
        )
    }

    //= RFC 7677 section 3
    #[test]
    fn the_server_signature_is_the_one_of_rfc_7677() {
        let signature = mac(&pencil().server_key, AUTH_MESSAGE.as_bytes());
        assert_eq!(
            STANDARD.encode(signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    //= RFC 7677 section 3
    #[test]
    fn the_client_proof_of_rfc_7677_is_recognised() {
        let verifier = pencil();
        let proof: [u8; KEY] = bytes("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = mac(&verifier.stored_key, AUTH_MESSAGE.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(sha256(&client_key), verifier.stored_key);
    }

    #[test]
    fn another_password_salt_or_count_gives_another_verifier() {
        let one = |password: u8, salt: u8, count: u32| {
            let password = Password::from_random(&[password; 32]);
            verifier(
                &password,
                Salt::from_random([salt; 16]),
                Iterations::new(count).unwrap(),
            )
            .expose_text()
            .to_string()
        };
        let texts = [
            one(1, 1, 4096),
            one(2, 1, 4096),
            one(1, 2, 4096),
            one(1, 1, 4097),
        ];
        let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn hostile_verifiers_are_refused() {
        let good = pencil().expose_text().to_string();
        assert!(good.parse::<Verifier>().is_ok());
        let (head, keys) = good.rsplit_once('$').unwrap();
        let hostile = [
            String::new(),
            "hunter2".to_owned(),
            "md5c0ffee00c0ffee00c0ffee00c0ffee00".to_owned(),
            format!("{good}'; drop role postgres; --"),
            format!("'{good}"),
            format!("{good}\0"),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            good.replace("SHA-256", "SHA-1"),
            good.replace("4096", "4095"),
            good.replace("4096", "04096"),
            good.replace("4096", "+4096"),
            good.replace("4096", "1000001"),
            good.replace("4096", "99999999999"),
            good.replace("==", ""),
            good.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22ZaJ0SNY7soEsUEjb6gR=="),
            good.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "c2hvcnQ="),
            format!("{head}${keys}:{keys}"),
            format!("{head}${keys}${keys}"),
            format!("{head}$:"),
        ];
        for text in hostile {
            assert_eq!(
                text.parse::<Verifier>().err(),
                Some(ScramError::Verifier),
                "{text:?}"
            );
        }
    }

    #[test]
    fn passwords_that_would_need_normalising_are_refused() {
        for text in ["", "naïve", "tab\there", "nul\0", &"x".repeat(129)] {
            assert_eq!(
                Password::from_text(text.to_owned()).err(),
                Some(ScramError::Password),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_verifier_survives_the_wire(stored in any::<[u8; 32]>(), server in any::<[u8; 32]>(), salt in any::<[u8; 16]>(),
            count in 4096u32..=1_000_000) {
            let iterations = Iterations::new(count).unwrap();
            let text = Verifier { iterations, salt: Salt(salt), stored_key: stored, server_key: server }.expose_text();
            prop_assert!(text.len() <= MOST_BYTES);
            let read: Verifier = text.parse().unwrap();
            prop_assert_eq!(read.expose_text(), text);
        }

        #[test]
        fn what_is_accepted_holds_no_letter_that_ends_a_literal(text in any::<String>()) {
            prop_assert!(text.parse::<Verifier>().is_err());
        }

        #[test]
        fn a_changed_letter_is_refused_or_harmless(at in 0usize..142, letter in any::<char>()) {
            let good = pencil().expose_text();
            let text: String = good.chars().enumerate().map(|(i, c)| if i == at { letter } else { c }).collect();
            if let Ok(read) = text.parse::<Verifier>() {
                let harmless = |c: char| c.is_ascii_alphanumeric() || "+/=$:-".contains(c);
                prop_assert!(text.chars().all(harmless));
                prop_assert!(*read.expose_text() == text);
            }
        }
    }
}
