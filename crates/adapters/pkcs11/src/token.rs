//! Our side: a key in a token, used by way of a helper.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use images::PortError;
use oci_crypt::{OaepHash, TokenKey, TokenKeyError};
use zeroize::Zeroizing;

use crate::error::{PolicyError, TokenFault};
use crate::key_file::KeyFile;
use crate::policy::{ModulePolicy, PermittedModule};
use crate::protocol::{self, Answer, Question, RsaNumbers, Secret};
use crate::uri::{KeyName, Pin};

/// How the helper is started: a program that calls [`crate::answer_questions`].
#[derive(Debug, Clone)]
pub struct HelperProgram {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// All tokens of one run. Once a module has refused a PIN, no other is tried with it: two key files with one wrong PIN must not
/// cost two of the few tries that a token gives.
#[derive(Debug, Clone)]
pub struct Tokens {
    policy: Arc<ModulePolicy>,
    helper: Arc<HelperProgram>,
    refused: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Tokens {
    /// Tokens behind the modules that the policy allows.
    #[must_use]
    pub fn new(policy: ModulePolicy, helper: HelperProgram) -> Self {
        Self {
            policy: Arc::new(policy),
            helper: Arc::new(helper),
            refused: Arc::default(),
        }
    }

    /// A key in a token. Nothing is loaded before the key is used.
    ///
    /// # Errors
    /// When its module is not there or not allowed, or it sets a variable that is not.
    pub fn key(&self, file: &KeyFile, pin: Option<Pin>) -> Result<Token, PolicyError> {
        self.policy.permit_environment(&file.environment)?;
        Ok(Token {
            module: self.policy.permit(&file.uri.module)?,
            name: file.uri.key.clone(),
            shown: file.uri.shown(),
            environment: file.environment.clone(),
            pin,
            state: Mutex::new(State::Asleep),
            tokens: self.clone(),
        })
    }
}

/// A key in a token.
pub struct Token {
    tokens: Tokens,
    module: PermittedModule,
    name: KeyName,
    shown: String,
    environment: Vec<(String, String)>,
    pin: Option<Pin>,
    state: Mutex<State>,
}

enum State {
    Asleep,
    Awake {
        helper: Helper,
        logged_in: bool,
    },
    /// For good: nothing that may cost a try, or crash again, is done twice.
    Over(TokenFault),
}

impl Token {
    /// How people know the key.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The key's public half.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn public_key(&self) -> Result<RsaNumbers, TokenFault> {
        // It may take the PIN, too.
        match self.ask(&Question::PublicKey)? {
            Answer::PublicKey(numbers) => Ok(numbers),
            _ => Err(TokenFault::Garbled),
        }
    }

    fn ask(&self, question: &Question) -> Result<Answer, TokenFault> {
        let mut state = lock(&self.state);
        if let State::Asleep = &*state {
            *state = match self.start() {
                Ok(helper) => State::Awake {
                    helper,
                    logged_in: false,
                },
                Err(fault) => State::Over(fault),
            };
        }
        let (helper, logged_in) = match &mut *state {
            State::Awake { helper, logged_in } => (helper, logged_in),
            State::Over(fault) => return Err(fault.clone()),
            State::Asleep => return Err(TokenFault::Start),
        };
        let answer = match logged_in {
            true => helper.ask(question),
            false => self.ask_with_pin(helper, question),
        };
        match answer {
            Ok(Answer::Fault(fault @ (TokenFault::NotForThisKey | TokenFault::Mechanism))) => {
                *logged_in = true;
                Err(fault)
            }
            Ok(answer @ Answer::PublicKey(_)) => Ok(answer),
            Ok(answer @ Answer::Plaintext(_)) => {
                *logged_in = true;
                Ok(answer)
            }
            Ok(Answer::Ready) => {
                *state = State::Over(TokenFault::Garbled);
                Err(TokenFault::Garbled)
            }
            Ok(Answer::Fault(fault)) | Err(fault) => {
                *state = State::Over(fault.clone());
                Err(fault)
            }
        }
    }

    /// Asks what may lead to a login; others wait meanwhile, lest two of them try the same wrong PIN at once.
    fn ask_with_pin(&self, helper: &mut Helper, question: &Question) -> Result<Answer, TokenFault> {
        let mut refused = lock(&self.tokens.refused);
        if refused.contains(self.module.path()) {
            return Err(TokenFault::PinRefusedBefore);
        }
        let answer = helper.ask(question)?;
        if let Answer::Fault(TokenFault::PinRefused | TokenFault::PinLocked) = &answer {
            refused.insert(self.module.path().to_owned());
        }
        Ok(answer)
    }

    fn start(&self) -> Result<Helper, TokenFault> {
        if lock(&self.tokens.refused).contains(self.module.path()) {
            return Err(TokenFault::PinRefusedBefore);
        }
        let HelperProgram { program, arguments } = &*self.tokens.helper;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut helper = Helper::start(command)?;
        let pin = self.pin.as_ref();
        let question = Question::Open {
            module: self.module.path().to_owned(),
            key: self.name.clone(),
            pin: pin.map(|pin| Secret(Zeroizing::new(pin.expose_bytes().to_vec()))),
        };
        match helper.ask(&question)? {
            Answer::Ready => Ok(helper),
            Answer::Fault(fault) => Err(fault),
            _ => Err(TokenFault::Garbled),
        }
    }
}

impl TokenKey for Token {
    fn decrypt(
        &self,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenKeyError> {
        let ciphertext = Secret(Zeroizing::new(ciphertext.to_vec()));
        let hash = hash.into();
        let fault = match self.ask(&Question::Decrypt { hash, ciphertext }) {
            Ok(Answer::Plaintext(Secret(plaintext))) => return Ok(plaintext),
            Ok(_) => TokenFault::Garbled,
            Err(TokenFault::NotForThisKey) => return Err(TokenKeyError::NotForThisKey),
            Err(fault) => fault,
        };
        Err(TokenKeyError::Token {
            key: self.shown.clone(),
            source: Box::new(PortError::new(fault.kind(), fault)),
        })
    }
}

/// A running helper. It ends with its pipes, or is ended.
struct Helper {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<Zeroizing<Vec<u8>>>,
}

impl Helper {
    fn start(mut command: Command) -> Result<Self, TokenFault> {
        // What modules write for their developers is not shown: it may tell more than it should.
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|_| TokenFault::Start)?;
        let questions = child.stdin.take();
        let output = child.stdout.take().ok_or(TokenFault::Start)?;
        let (sender, answers) = channel();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Ok(Some(line)) = protocol::read_line(&mut output) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    fn ask(&mut self, question: &Question) -> Result<Answer, TokenFault> {
        if let Some(questions) = &mut self.questions
            && protocol::write(questions, question).is_err()
        {
            return Err(self.crashed());
        }
        match self.answers.recv_timeout(LONGEST_WAIT) {
            Ok(line) => protocol::parse(&line).map_err(|_| TokenFault::Garbled),
            Err(RecvTimeoutError::Disconnected) => Err(self.crashed()),
            Err(RecvTimeoutError::Timeout) => Err(TokenFault::Silent {
                seconds: LONGEST_WAIT.as_secs(),
            }),
        }
    }

    /// How it ended, once its answers have.
    fn crashed(&mut self) -> TokenFault {
        self.questions = None;
        // It may have closed its pipe alone: nothing is waited for that does not come.
        while self.answers.recv_timeout(FAREWELL).is_ok() {}
        let _ = self.child.kill();
        TokenFault::Crashed {
            how: match self.child.wait() {
                Ok(status) => status.to_string(),
                Err(error) => error.kind().to_string(),
            },
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Without questions it says farewell to the token; a module that does not let it is ended.
        self.questions = None;
        while self.answers.recv_timeout(FAREWELL).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody may have to type a PIN, or touch a token.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
const FAREWELL: Duration = Duration::from_secs(2);
