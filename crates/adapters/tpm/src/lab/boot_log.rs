//! A plausible UEFI boot: firmware, Secure Boot, shim, GRUB, a kernel and its command line, in TCG format.

use tpm_quote::{EventLog, EventLogError, PcrBank, PcrSelection, PcrSlot, event_type};

use crate::client::Tpm;
use crate::error::TpmError;

/// The event log of a machine that booted the kernel of this version. The same version gives the same log.
#[must_use]
pub fn boot_log(kernel_version: &str) -> EventLog {
    let mut log = EventLog::new(&BANKS);
    let mut measure = |pcr: u8, kind: u32, content: &[u8], data: &[u8]| {
        if let Some(slot) = PcrSlot::new(pcr) {
            log.measure_content(slot, kind, content, data);
        }
    };
    for (pcr, kind, text) in FIRMWARE {
        measure(*pcr, *kind, text.as_bytes(), text.as_bytes());
    }
    for pcr in 0..8 {
        measure(pcr, event_type::SEPARATOR, &[0; 4], &[0; 4]);
    }
    for (pcr, kind, file) in LOADERS {
        // The digest is the file's; the data only say where it lay.
        measure(
            *pcr,
            *kind,
            format!("content of {file}").as_bytes(),
            file.as_bytes(),
        );
    }
    let kernel = format!("/boot/vmlinuz-{kernel_version}");
    let initrd = format!("/boot/initrd.img-{kernel_version}");
    let command_line =
        format!("kernel_cmdline: {kernel} root=/dev/vda1 ro quiet lockdown=integrity");
    measure(
        8,
        event_type::IPL,
        command_line.as_bytes(),
        command_line.as_bytes(),
    );
    for file in [kernel, initrd] {
        measure(
            9,
            event_type::IPL,
            format!("content of {file}").as_bytes(),
            file.as_bytes(),
        );
    }
    measure(
        5,
        event_type::EFI_ACTION,
        EXIT_BOOT_SERVICES,
        EXIT_BOOT_SERVICES,
    );
    log
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

const BANKS: [PcrBank; 2] = [PcrBank::Sha256, PcrBank::Sha384];
const EXIT_BOOT_SERVICES: &[u8] = b"Exit Boot Services Returned with Success";

/// What firmware measures before it hands over; the digest is that of the text.
const FIRMWARE: &[(u8, u32, &str)] = &[
    (0, event_type::S_CRTM_VERSION, "bailiwick lab firmware 1.0"),
    (
        0,
        event_type::EFI_PLATFORM_FIRMWARE_BLOB,
        "firmware volume: main",
    ),
    (
        1,
        event_type::EFI_HANDOFF_TABLES,
        "SMBIOS: bailiwick lab machine",
    ),
    (1, event_type::EFI_VARIABLE_BOOT, "BootOrder=0000"),
    (1, event_type::EFI_VARIABLE_BOOT, "Boot0000=debian"),
    (
        2,
        event_type::EFI_PLATFORM_FIRMWARE_BLOB,
        "option ROM: network",
    ),
    (
        3,
        event_type::EFI_PLATFORM_FIRMWARE_BLOB,
        "option ROM configuration: network",
    ),
    (6, event_type::ACTION, "Wake Event: power button"),
    (7, event_type::EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot=1"),
    (
        7,
        event_type::EFI_VARIABLE_DRIVER_CONFIG,
        "PK=bailiwick lab platform key",
    ),
    (
        7,
        event_type::EFI_VARIABLE_DRIVER_CONFIG,
        "KEK=bailiwick lab exchange key",
    ),
    (7, event_type::EFI_VARIABLE_DRIVER_CONFIG, "db=UEFI CA 2023"),
    (
        7,
        event_type::EFI_VARIABLE_DRIVER_CONFIG,
        "dbx=revocations of 2026-01",
    ),
    (
        4,
        event_type::EFI_ACTION,
        "Calling EFI Application from Boot Option",
    ),
];

/// What firmware and loaders load; the digest is the file's.
const LOADERS: &[(u8, u32, &str)] = &[
    (5, event_type::EFI_GPT_EVENT, "partition table of /dev/vda"),
    (
        7,
        event_type::EFI_VARIABLE_AUTHORITY,
        "db entry that allowed shim",
    ),
    (
        4,
        event_type::EFI_BOOT_SERVICES_APPLICATION,
        "/EFI/debian/shimx64.efi",
    ),
    (14, event_type::IPL, "MokList"),
    (14, event_type::IPL, "MokListX"),
    (
        4,
        event_type::EFI_BOOT_SERVICES_APPLICATION,
        "/EFI/debian/grubx64.efi",
    ),
    (8, event_type::IPL, "grub_cmd: linux"),
    (9, event_type::IPL, "/boot/grub/grub.cfg"),
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
