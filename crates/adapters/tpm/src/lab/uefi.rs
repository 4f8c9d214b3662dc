//! The data of events as UEFI writes them (PC Client Platform Firmware Profile 10.2), so that other readers of the log
//! understand the lab's boots too.

/// The GUID of the variables that UEFI itself defines, in its order of bytes.
const GLOBAL: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];

/// `UEFI_VARIABLE_DATA`: a variable with its name and value.
pub(super) fn variable(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = GLOBAL.to_vec();
    put_len(&mut out, name.encode_utf16().count());
    put_len(&mut out, value.len());
    out.extend(utf16(name));
    out.extend_from_slice(value);
    out
}

/// `UEFI_PLATFORM_FIRMWARE_BLOB`: where the firmware volume lies.
pub(super) fn firmware_blob(base: u64, len: u64) -> Vec<u8> {
    [base.to_le_bytes(), len.to_le_bytes()].concat()
}

/// `UEFI_HANDOFF_TABLE_POINTERS` with one table.
pub(super) fn handoff_table(table: &[u8; 16], address: u64) -> Vec<u8> {
    [
        1_u64.to_le_bytes().as_slice(),
        table,
        &address.to_le_bytes(),
    ]
    .concat()
}

/// `UEFI_IMAGE_LOAD_EVENT`: an application and the path of its file.
pub(super) fn image_load(path: &str) -> Vec<u8> {
    let mut name = utf16(&path.replace('/', "\\"));
    name.extend([0, 0]);
    // A file path node (4, 4) and the end of the device path.
    let mut device_path = vec![4, 4];
    device_path.extend(
        u16::try_from(name.len() + 4)
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    device_path.extend(name);
    device_path.extend([0x7f, 0xff, 4, 0]);
    let mut out = Vec::new();
    for word in [0x7e00_0000_u64, 0x0010_0000, 0] {
        out.extend(word.to_le_bytes());
    }
    put_len(&mut out, device_path.len());
    out.extend(device_path);
    out
}

/// `UEFI_GPT_DATA` without partitions.
pub(super) fn partition_table() -> Vec<u8> {
    let mut out = b"EFI PART\0\0\x01\0\x5c\0\0\0".to_vec();
    out.resize(92, 0);
    put_len(&mut out, 0);
    out
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend(u64::try_from(len).unwrap_or(u64::MAX).to_le_bytes());
}
