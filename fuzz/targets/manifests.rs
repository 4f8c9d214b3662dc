//! See `fuzz::manifests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::manifests::check(input);
});
