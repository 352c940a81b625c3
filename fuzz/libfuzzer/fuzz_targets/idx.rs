#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    (netsor_fuzz::target("idx").expect("a target of this name").run)(bytes);
});
