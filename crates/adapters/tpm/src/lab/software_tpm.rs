//! Software TPMs (swtpm) whose endorsement keys are certified by a manufacturer of the lab's own.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::address::TpmAddress;
use crate::client::Tpm;
use crate::error::TpmError;

/// Why a software TPM can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Fault: the machine: `swtpm` or `swtpm-tools` is not installed, or a directory can't be written.
    #[error("`{what}` failed")]
    Io {
        /// The program or path.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Fault: the machine or the caller; the output of the program says more.
    #[error("`{program}` failed: {output}")]
    Program {
        /// The program.
        program: &'static str,
        /// The end of what it said.
        output: String,
    },
    /// Fault: the caller; names and paths end up in configuration files of other programs.
    #[error("`{name}` has characters that swtpm's configuration can't hold")]
    Name {
        /// The name or path.
        name: String,
    },
    /// Fault: the machine: the program runs, but does not answer.
    #[error("the software TPM did not come up")]
    NotUp {
        /// What the last attempt said.
        #[source]
        source: TpmError,
    },
}

/// A manufacturer of software TPMs: a root and an issuing certificate authority in one directory.
#[derive(Debug, Clone)]
pub struct Manufacturer {
    directory: PathBuf,
}

impl Manufacturer {
    /// The manufacturer that lives in `directory`; its keys are made with its first TPM.
    ///
    /// # Errors
    /// When the directory can't be made or its name does not fit a configuration file.
    pub fn at(directory: &Path) -> Result<Self, LabError> {
        let directory = prepared(directory)?;
        let here = directory.display();
        write(
            &directory.join(LOCALCA),
            &format!(
                "statedir = {here}\nsigningkey = {here}/issuer-key.pem\nissuercert = {here}/{ISSUER}\ncertserial = {here}/serial\n"
            ),
        )?;
        write(
            &directory.join(OPTIONS),
            "--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version id:20191023\n--platform-manufacturer bailiwick\n--platform-version 1\n--platform-model lab\n",
        )?;
        write(
            &directory.join(SETUP),
            &format!(
                "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {here}/{LOCALCA}\ncreate_certs_tool_options = {here}/{OPTIONS}\nactive_pcr_banks = sha256,sha384\n"
            ),
        )?;
        Ok(Self { directory })
    }

    /// The PEM file with the root and the issuing certificate, for a server's list of manufacturers. It exists once a
    /// TPM was made.
    #[must_use]
    pub fn roots_pem(&self) -> PathBuf {
        self.directory.join(ROOTS)
    }

    /// Makes the TPM called `name` with its state in `directory`; one that is there already is kept.
    ///
    /// # Errors
    /// When swtpm's tools are not installed or fail.
    pub fn make(&self, directory: &Path, name: &str) -> Result<SoftwareTpm, LabError> {
        plain(name)?;
        let directory = prepared(directory)?;
        let mut command = Command::new("swtpm_setup");
        command
            .args([
                "--tpm2",
                "--createek",
                "--create-ek-cert",
                "--create-platform-cert",
                "--lock-nvram",
            ])
            .args(["--not-overwrite", "--vmid", name])
            .arg("--tpmstate")
            .arg(&directory)
            .arg("--config")
            .arg(self.directory.join(SETUP))
            .stdin(Stdio::null());
        let output = command.output().map_err(|source| LabError::Io {
            what: "swtpm_setup".into(),
            source,
        })?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let start = said.len().saturating_sub(400);
            let output = String::from_utf8_lossy(said.get(start..).unwrap_or_default())
                .trim()
                .to_owned();
            return Err(LabError::Program {
                program: "swtpm_setup",
                output,
            });
        }
        let certificates = [
            read(&self.directory.join(ROOT))?,
            read(&self.directory.join(ISSUER))?,
        ]
        .concat();
        write(&self.roots_pem(), &certificates)?;
        Ok(SoftwareTpm {
            directory,
            roots: self.roots_pem(),
        })
    }
}

/// A software TPM that was made, and may or may not run.
#[derive(Debug, Clone)]
pub struct SoftwareTpm {
    directory: PathBuf,
    roots: PathBuf,
}

impl SoftwareTpm {
    /// Makes the TPM called `name` in `directory`, certified by the manufacturer in `ca_directory`.
    ///
    /// # Errors
    /// As [`Manufacturer::at`] and [`Manufacturer::make`].
    pub fn create(directory: &Path, ca_directory: &Path, name: &str) -> Result<Self, LabError> {
        Manufacturer::at(ca_directory)?.make(directory, name)
    }

    /// The PEM file with the manufacturer's certificates.
    #[must_use]
    pub fn roots_pem(&self) -> &Path {
        &self.roots
    }

    /// Starts it on a TCP port of loopback; the next port takes swtpm's control channel, as tpm2-tools expect.
    ///
    /// # Errors
    /// When swtpm is not installed or does not come up.
    pub fn start(&self, port: u16) -> Result<RunningTpm, LabError> {
        let control = port.checked_add(1).ok_or_else(|| LabError::Name {
            name: port.to_string(),
        })?;
        let server = format!("type=tcp,bindaddr=127.0.0.1,port={port}");
        let control = format!("type=tcp,bindaddr=127.0.0.1,port={control}");
        self.run(
            &server,
            &control,
            TpmAddress::Tcp {
                host: "127.0.0.1".into(),
                port,
            },
        )
    }

    /// Starts it on two adjacent free ports of loopback.
    ///
    /// # Errors
    /// As [`SoftwareTpm::start`]; another program may take the ports in between, then the next ones are tried.
    pub fn start_on_free_port(&self) -> Result<RunningTpm, LabError> {
        let mut result = self.start(free_pair()?);
        for _ in 0..4 {
            if result.is_ok() {
                break;
            }
            result = self.start(free_pair()?);
        }
        result
    }

    /// Starts it on the Unix socket `tpm.sock` in its own directory.
    ///
    /// # Errors
    /// When swtpm is not installed or does not come up.
    pub fn start_on_socket(&self) -> Result<RunningTpm, LabError> {
        let socket = self.directory.join("tpm.sock");
        let server = format!("type=unixio,path={}", socket.display());
        let control = format!(
            "type=unixio,path={}",
            self.directory.join("control.sock").display()
        );
        self.run(&server, &control, TpmAddress::Unix(socket))
    }

    fn run(
        &self,
        server: &str,
        control: &str,
        address: TpmAddress,
    ) -> Result<RunningTpm, LabError> {
        let log = self.directory.join("swtpm.log");
        let log = File::create(&log).map_err(|source| LabError::Io {
            what: log.display().to_string(),
            source,
        })?;
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--server", server, "--ctrl", control])
            .args(["--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.directory.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| LabError::Io {
                what: "swtpm".into(),
                source,
            })?;
        let mut running = RunningTpm {
            child: Some(child),
            address,
        };
        running.wait_until_up()?;
        Ok(running)
    }
}

/// A running software TPM. It ends when this is dropped, unless it was [detached](RunningTpm::detach).
#[derive(Debug)]
pub struct RunningTpm {
    child: Option<Child>,
    address: TpmAddress,
}

impl RunningTpm {
    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> &TpmAddress {
        &self.address
    }

    /// Connects to it.
    ///
    /// # Errors
    /// As [`Tpm::connect`].
    pub fn connect(&self) -> Result<Tpm, TpmError> {
        Tpm::connect(&self.address)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Lets it run on after this program; returns the process id, by which the caller ends it later.
    #[must_use]
    pub fn detach(mut self) -> Option<u32> {
        self.child.take().map(|child| child.id())
    }

    fn wait_until_up(&mut self) -> Result<(), LabError> {
        let mut result = self.connect();
        for _ in 0..UP_ATTEMPTS {
            let ended = matches!(self.child.as_mut().map(Child::try_wait), Some(Ok(Some(_))));
            if ended {
                return Err(LabError::Program {
                    program: "swtpm",
                    output: "it ended; see `swtpm.log`".into(),
                });
            }
            if result.is_ok() {
                return Ok(());
            }
            thread::sleep(UP_PAUSE);
            result = self.connect();
        }
        result
            .map(drop)
            .map_err(|source| LabError::NotUp { source })
    }
}

impl Drop for RunningTpm {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port of loopback that is free, and so is the next one.
fn free_pair() -> Result<u16, LabError> {
    let failed = |source| LabError::Io {
        what: "looking for free ports".into(),
        source,
    };
    for _ in 0..32 {
        let first = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let port = first.local_addr().map_err(failed)?.port();
        let next = port
            .checked_add(1)
            .map(|next| TcpListener::bind(("127.0.0.1", next)));
        if matches!(next, Some(Ok(_))) {
            return Ok(port);
        }
    }
    Err(failed(io::ErrorKind::AddrInUse.into()))
}

/// The directory, made if need be, as an absolute path that fits a configuration file.
fn prepared(directory: &Path) -> Result<PathBuf, LabError> {
    let failed = |source| LabError::Io {
        what: directory.display().to_string(),
        source,
    };
    fs::create_dir_all(directory).map_err(failed)?;
    let absolute = fs::canonicalize(directory).map_err(failed)?;
    plain(absolute.to_str().unwrap_or(" "))?;
    Ok(absolute)
}

fn plain(name: &str) -> Result<(), LabError> {
    let fits =
        |symbol: char| symbol.is_ascii_alphanumeric() || ['/', '-', '_', '.'].contains(&symbol);
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(()),
        false => Err(LabError::Name {
            name: name.to_owned(),
        }),
    }
}

fn write(path: &Path, content: &str) -> Result<(), LabError> {
    fs::write(path, content).map_err(|source| LabError::Io {
        what: path.display().to_string(),
        source,
    })
}

fn read(path: &Path) -> Result<String, LabError> {
    fs::read_to_string(path).map_err(|source| LabError::Io {
        what: path.display().to_string(),
        source,
    })
}

const LOCALCA: &str = "localca.conf";
const OPTIONS: &str = "localca.options";
const SETUP: &str = "setup.conf";
const ISSUER: &str = "issuer-cert.pem";
/// swtpm's tool gives the root this name.
const ROOT: &str = "swtpm-localca-rootca-cert.pem";
const ROOTS: &str = "manufacturer.pem";
const UP_ATTEMPTS: usize = 100;
const UP_PAUSE: Duration = Duration::from_millis(20);
