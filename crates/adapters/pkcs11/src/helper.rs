//! The helper's side: a process of its own, in which one module is loaded and one key is used.

use std::fs::OpenOptions;
use std::io::{self, BufReader, Write};
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::RawAuthPin;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use zeroize::Zeroizing;

use crate::error::TokenFault;
use crate::protocol::{self, Answer, Hash, Question, RsaNumbers, Secret};
use crate::uri::KeyName;

/// Loads the module that the first question names and answers the others, until nobody asks any more.
///
/// # Errors
/// When a question is not understood, or the pipes break.
pub fn answer_questions() -> io::Result<()> {
    // A module that crashes leaves no copy of PIN and keys behind: neither a file, nor what a program that takes crashes gets.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    // Modules write where they like: our answers take another way than their words.
    let mut output: std::fs::File = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?.into();
    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    let mut input = BufReader::new(io::stdin());
    let first = protocol::read_line(&mut input)?;
    let Some(Question::Open { module, key, pin }) = first
        .as_deref()
        .map(|line| protocol::parse(line))
        .transpose()?
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut key = match OpenKey::open(&module, key, pin) {
        Ok(key) => key,
        Err(fault) => return protocol::write(&mut output, &Answer::Fault(fault)),
    };
    protocol::write(&mut output, &Answer::Ready)?;
    while let Some(line) = protocol::read_line(&mut input)? {
        let answer = match protocol::parse(&line)? {
            Question::Open { .. } => return Err(io::ErrorKind::InvalidData.into()),
            Question::PublicKey => key.public_key().map(Answer::PublicKey),
            Question::Decrypt { hash, ciphertext } => key
                .decrypt(hash, &ciphertext.0)
                .map(|plaintext| Answer::Plaintext(Secret(plaintext))),
        };
        protocol::write(&mut output, &answer.unwrap_or_else(Answer::Fault))?;
    }
    output.flush()
}

/// A session with the token in which the key lies.
struct OpenKey {
    session: Session,
    token: TokenInfo,
    name: KeyName,
    login: Login,
    private: Option<PrivateKey>,
}

/// Nothing of it is tried twice.
enum Login {
    Ahead(Option<Secret>),
    Done,
    Failed(TokenFault),
}

#[derive(Clone, Copy)]
struct PrivateKey {
    handle: ObjectHandle,
    modulus_len: usize,
}

impl OpenKey {
    fn open(module: &Path, name: KeyName, pin: Option<Secret>) -> Result<Self, TokenFault> {
        let context = Pkcs11::new(module).map_err(|_| TokenFault::Module)?;
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        context
            .initialize(arguments)
            .map_err(|_| TokenFault::Module)?;
        let (slot, token) = find_token(&context, &name)?;
        let session = context.open_ro_session(slot).map_err(fault)?;
        Ok(Self {
            session,
            token,
            name,
            login: Login::Ahead(pin),
            private: None,
        })
    }

    fn public_key(&mut self) -> Result<RsaNumbers, TokenFault> {
        // Some tokens show public keys to those alone who have logged in.
        let handle = match self.find(ObjectClass::PUBLIC_KEY) {
            Err(TokenFault::NoKey) if matches!(self.login, Login::Ahead(Some(_))) => {
                self.log_in()?;
                self.find(ObjectClass::PUBLIC_KEY)?
            }
            found => found?,
        };
        let wanted = [AttributeType::Modulus, AttributeType::PublicExponent];
        let attributes = self
            .session
            .get_attributes(handle, &wanted)
            .map_err(fault)?;
        let (mut n, mut e) = (None, None);
        for attribute in attributes {
            match attribute {
                Attribute::Modulus(number) => n = Some(without_zeros(&number)),
                Attribute::PublicExponent(number) => e = Some(without_zeros(&number)),
                _ => {}
            }
        }
        let (n, e) = n.zip(e).ok_or(TokenFault::NoKey)?;
        Ok(RsaNumbers { n, e })
    }

    fn decrypt(&mut self, hash: Hash, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, TokenFault> {
        self.log_in()?;
        let PrivateKey {
            handle,
            modulus_len,
        } = self.private_key()?;
        if ciphertext.len() != modulus_len {
            return Err(TokenFault::NotForThisKey);
        }
        let (hash, mgf) = match hash {
            Hash::Sha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
            Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        };
        let oaep = PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty());
        let plaintext = self.session.decrypt(&oaep.into(), handle, ciphertext);
        plaintext.map(Zeroizing::new).map_err(fault)
    }

    fn private_key(&mut self) -> Result<PrivateKey, TokenFault> {
        if let Some(known) = self.private {
            return Ok(known);
        }
        let handle = self.find(ObjectClass::PRIVATE_KEY)?;
        let wanted = [AttributeType::Modulus];
        let attributes = self
            .session
            .get_attributes(handle, &wanted)
            .map_err(fault)?;
        let modulus_len = attributes.iter().find_map(|attribute| match attribute {
            Attribute::Modulus(number) => Some(without_zeros(number).len()),
            _ => None,
        });
        let found = PrivateKey {
            handle,
            modulus_len: modulus_len.ok_or(TokenFault::NoKey)?,
        };
        self.private = Some(found);
        Ok(found)
    }

    fn find(&self, class: ObjectClass) -> Result<ObjectHandle, TokenFault> {
        let mut template = vec![Attribute::Class(class), Attribute::KeyType(KeyType::RSA)];
        let KeyName { object, id, .. } = &self.name;
        template.extend(object.clone().map(Attribute::Label));
        template.extend(id.clone().map(Attribute::Id));
        let found = self.session.find_objects(&template).map_err(fault)?;
        match found.as_slice() {
            [] => Err(TokenFault::NoKey),
            [one] => Ok(*one),
            _ => Err(TokenFault::SeveralKeys),
        }
    }

    fn log_in(&mut self) -> Result<(), TokenFault> {
        let pin = match &mut self.login {
            Login::Done => return Ok(()),
            Login::Failed(fault) => return Err(fault.clone()),
            Login::Ahead(pin) => pin.take(),
        };
        let done = self.try_pin(pin);
        self.login = match &done {
            Ok(()) => Login::Done,
            Err(fault) => Login::Failed(fault.clone()),
        };
        done
    }

    fn try_pin(&self, pin: Option<Secret>) -> Result<(), TokenFault> {
        let token = &self.token;
        if !token.login_required() {
            return Ok(());
        }
        if token.user_pin_locked() {
            return Err(TokenFault::PinLocked);
        }
        if token.user_pin_final_try() {
            return Err(TokenFault::LastTry);
        }
        let logged_in = match pin {
            Some(Secret(mut pin)) => {
                let pin = RawAuthPin::new(Box::new(std::mem::take(&mut *pin)));
                self.session.login_with_raw(UserType::User, &pin)
            }
            // It has keys of its own, on which somebody types.
            None if token.protected_authentication_path() => {
                self.session.login(UserType::User, None)
            }
            None => return Err(TokenFault::PinMissing),
        };
        match logged_in {
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            logged_in => logged_in.map_err(fault),
        }
    }
}

fn find_token(context: &Pkcs11, name: &KeyName) -> Result<(Slot, TokenInfo), TokenFault> {
    let KeyName {
        slot: wanted_slot,
        token,
        serial,
        manufacturer,
        model,
        object: _,
        id: _,
    } = name;
    let is = |wanted: &Option<String>, found: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted.trim_end() == found)
    };
    let mut found = Vec::new();
    for slot in context.get_slots_with_token().map_err(fault)? {
        if wanted_slot.is_some_and(|wanted| u64::from(wanted) != slot.id()) {
            continue;
        }
        let Ok(info) = context.get_token_info(slot) else {
            continue;
        };
        let is_meant = is(token, info.label())
            && is(serial, info.serial_number())
            && is(manufacturer, info.manufacturer_id())
            && is(model, info.model());
        if is_meant {
            found.push((slot, info));
        }
    }
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), _) => Err(TokenFault::SeveralTokens),
        (None, _) => Err(TokenFault::NoToken),
    }
}

/// What a module's failure means here.
fn fault(error: Error) -> TokenFault {
    use RvError::{
        ArgumentsBad, EncryptedDataInvalid, EncryptedDataLenRange, FunctionFailed, GeneralError,
        MechanismInvalid, MechanismParamInvalid, PinIncorrect, PinInvalid, PinLenRange, PinLocked,
    };
    let Error::Pkcs11(value, function) = error else {
        return TokenFault::Failed {
            said: "it can't be understood".to_owned(),
        };
    };
    match (value, function) {
        (PinIncorrect | PinInvalid | PinLenRange, _) => TokenFault::PinRefused,
        (PinLocked, _) => TokenFault::PinLocked,
        (MechanismInvalid | MechanismParamInvalid, _) => TokenFault::Mechanism,
        (ArgumentsBad, Function::DecryptInit) => TokenFault::Mechanism,
        (EncryptedDataInvalid | EncryptedDataLenRange, _) => TokenFault::NotForThisKey,
        // All that some modules say of a ciphertext that is not theirs.
        (GeneralError | FunctionFailed, Function::Decrypt) => TokenFault::NotForThisKey,
        (value, _) => TokenFault::Failed {
            said: format!("{value:?}").chars().take(80).collect(),
        },
    }
}

fn without_zeros(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.iter().skip(zeros).copied().collect()
}
