//! A plausible UEFI boot: firmware, Secure Boot, shim, GRUB, a kernel and its command line, in TCG format.

use tpm_quote::{EventLog, EventLogError, PcrBank, PcrSelection, PcrSlot, event_type};

use crate::client::Tpm;
use crate::error::TpmError;
use crate::lab::uefi;

/// The event log of a machine that booted the kernel of this version. The same version gives the same log.
#[must_use]
pub fn boot_log(kernel_version: &str) -> EventLog {
    let mut boot = Boot(EventLog::new(&BANKS));
    boot.firmware();
    for pcr in 0..8 {
        boot.text(pcr, event_type::SEPARATOR, &[0; 4]);
    }
    boot.loaders();
    boot.kernel(kernel_version);
    boot.text(5, event_type::EFI_ACTION, b"Exit Boot Services Invocation");
    boot.text(
        5,
        event_type::EFI_ACTION,
        b"Exit Boot Services Returned with Success",
    );
    boot.0
}

/// The registers that [`boot_log`] measures into.
///
/// # Errors
/// Never: the registers are fixed.
pub fn boot_pcrs(bank: PcrBank) -> Result<PcrSelection, tpm_quote::PcrError> {
    PcrSelection::new(bank, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14])
}

/// Extends a boot into a TPM, as firmware and loaders would have done.
///
/// # Errors
/// When the log has not the banks, or the TPM refuses or does not answer.
pub fn play(tpm: &Tpm, log: &EventLog) -> Result<(), PlayError> {
    let of_bank = |bank| -> Result<Vec<(u8, Vec<u8>)>, EventLogError> {
        Ok(log
            .extensions(bank)?
            .map(|(pcr, digest)| (pcr, digest.to_vec()))
            .collect())
    };
    let [first, second] = BANKS;
    for ((pcr, short), (_, long)) in of_bank(first)?.into_iter().zip(of_bank(second)?) {
        if let Some(slot) = PcrSlot::new(pcr) {
            tpm.pcr_extend(slot, &[(first, short), (second, long)])?;
        }
    }
    Ok(())
}

/// Why a boot could not be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlayError {
    /// Fault: the caller; the log is not one of the lab.
    #[error("the event log can't be played")]
    Log(#[from] EventLogError),
    /// Fault: the TPM.
    #[error("the TPM did not take the boot")]
    Tpm(#[from] TpmError),
}

/// A boot as it goes on.
struct Boot(EventLog);

impl Boot {
    /// What firmware measures before it hands over.
    fn firmware(&mut self) {
        self.text(0, event_type::S_CRTM_VERSION, b"bailiwick lab firmware 1.0");
        let volume = uefi::firmware_blob(0xff00_0000, 0x0080_0000);
        self.content(
            0,
            event_type::EFI_PLATFORM_FIRMWARE_BLOB,
            "firmware volume",
            &volume,
        );
        let tables = uefi::handoff_table(SMBIOS, 0x000f_0000);
        self.content(
            1,
            event_type::EFI_HANDOFF_TABLES,
            "SMBIOS: bailiwick lab machine",
            &tables,
        );
        self.text(
            1,
            event_type::EFI_VARIABLE_BOOT,
            &uefi::variable("BootOrder", &[0, 0]),
        );
        let rom = uefi::firmware_blob(0xfeb0_0000, 0x0004_0000);
        self.content(
            2,
            event_type::EFI_PLATFORM_FIRMWARE_BLOB,
            "option ROM: network",
            &rom,
        );
        self.text(3, event_type::ACTION, b"option ROM configuration: network");
        self.text(6, event_type::ACTION, b"Wake Event: power button");
        // The values of the key databases are left out: a lab has none, and their digest is what counts.
        for (name, value) in [
            ("SecureBoot", &[1][..]),
            ("PK", &[]),
            ("KEK", &[]),
            ("db", &[]),
            ("dbx", &[]),
        ] {
            self.text(
                7,
                event_type::EFI_VARIABLE_DRIVER_CONFIG,
                &uefi::variable(name, value),
            );
        }
        self.text(
            4,
            event_type::EFI_ACTION,
            b"Calling EFI Application from Boot Option",
        );
    }

    /// What firmware, shim and GRUB load and read.
    fn loaders(&mut self) {
        self.content(
            5,
            event_type::EFI_GPT_EVENT,
            "partition table",
            &uefi::partition_table(),
        );
        for file in ["/EFI/debian/shimx64.efi", "/EFI/debian/grubx64.efi"] {
            self.content(
                4,
                event_type::EFI_BOOT_SERVICES_APPLICATION,
                file,
                &uefi::image_load(file),
            );
        }
        for list in ["MokList", "MokListX"] {
            self.content(14, event_type::IPL, list, format!("{list}\0").as_bytes());
        }
        self.content(
            9,
            event_type::IPL,
            "/boot/grub/grub.cfg",
            b"/boot/grub/grub.cfg\0",
        );
        self.text(8, event_type::IPL, b"grub_cmd: linux");
    }

    fn kernel(&mut self, version: &str) {
        let line = format!(
            "kernel_cmdline: /boot/vmlinuz-{version} root=/dev/vda1 ro quiet lockdown=integrity"
        );
        self.text(8, event_type::IPL, line.as_bytes());
        for file in [
            format!("/boot/vmlinuz-{version}"),
            format!("/boot/initrd.img-{version}"),
        ] {
            self.content(9, event_type::IPL, &file, format!("{file}\0").as_bytes());
        }
    }

    /// An event whose digest is that of its data.
    fn text(&mut self, pcr: u8, kind: u32, data: &[u8]) {
        if let Some(slot) = PcrSlot::new(pcr) {
            self.0.measure(slot, kind, data);
        }
    }

    /// An event whose digest is that of a file; the data only say which. In place of the file stands its name.
    fn content(&mut self, pcr: u8, kind: u32, file: &str, data: &[u8]) {
        if let Some(slot) = PcrSlot::new(pcr) {
            self.0
                .measure_content(slot, kind, format!("content of {file}").as_bytes(), data);
        }
    }
}

const BANKS: [PcrBank; 2] = [PcrBank::Sha256, PcrBank::Sha384];
/// The GUID of the SMBIOS 3 table, in UEFI's order of bytes.
const SMBIOS: &[u8; 16] = &[
    0x44, 0x15, 0xfd, 0xf2, 0x94, 0x97, 0x2c, 0x4a, 0x99, 0x2e, 0xe5, 0xbb, 0xcf, 0x20, 0xe3, 0x94,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_register_of_the_boot_is_measured_and_tells_kernels_apart() {
        for bank in BANKS {
            let pcrs = boot_pcrs(bank).unwrap();
            let one = boot_log("6.1.0-18-amd64").replayed_values(&pcrs).unwrap();
            let other = boot_log("6.1.0-17-amd64").replayed_values(&pcrs).unwrap();
            one.require_measured().unwrap();
            let differing: Vec<u8> = pcrs
                .indices()
                .filter(|pcr| one.value(*pcr) != other.value(*pcr))
                .collect();
            assert_eq!(differing, [8, 9]);
        }
    }

    #[test]
    fn the_log_is_read_as_it_was_written() {
        let log = boot_log("6.1.0-18-amd64");
        assert_eq!(EventLog::parse(&log.to_bytes()).unwrap(), log);
    }
}
