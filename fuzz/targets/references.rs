//! See `fuzz::references`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::references::check(input);
});
