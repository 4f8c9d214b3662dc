//! Judges from outside and attacks, on the real program and real parts. They fail where a part is missing, and never skip.
//!
//! Where each line of "Judges" is kept; `real::` is this binary, the others are `CRATE::FILE::TEST` in `crates/`.
//!
//! | judge | test |
//! |---|---|
//! | skopeo decrypts our `jwe:` layers, byte-identical | `real::skopeo::skopeo_decrypts_what_we_encrypt_for_each_kind_of_key`, `…::both_ways_through_a_registry` |
//! | and the reverse | `real::skopeo::we_decrypt_what_skopeo_encrypts_for_each_kind_of_key`, `…::both_ways_through_a_registry` |
//! | Go's ocicrypt | `real::skopeo::gos_ocicrypt_opens_each_layer_and_refuses_a_changed_one` |
//! | … every `alg` for every kind of key, both ways; every container of keys | `real::interop_keys` |
//! | OpenSSL makes signatures in cosign's form; statements on a registry, past skopeo | `real::signed_images` |
//! | recipients on a registry change without their layers, as counted on the line; skopeo opens what is left | `real::recipients_registry` |
//! | skopeo and Go's ocicrypt on `pkcs7:`, both ways | `real::interop_pkcs7` |
//! | GnuPG, skopeo and Go's ocicrypt on `pgp:`, both ways | `real::interop_pgp` |
//! | Go's ocicrypt on `pkcs11:`, both ways, with keys in SoftHSM | `real::interop_pkcs11` |
//! | every scheme and type of layer between us, skopeo, Go's ocicrypt, imgcrypt and containerd: the tables of `docs/why/image-bindings.md` | `real::matrix` |
//! | Go's ocicrypt and we, over one key provider (program, gRPC, TLS); Go asks us as one | `real::interop_provider` |
//! | go-spiffe fetches and verifies SVIDs from our agent; Go's x509 reads the facts | `real::spiffe::go_spiffe_in_a_container_verifies_its_identities_and_reads_the_facts`, `spiffe-id::go_judge` |
//! | `sumdb/note` and `tlog` on checkpoint, inclusion, receipt, tiles | `real::ledger::go_verifies_checkpoint_inclusion_receipt_and_tiles_of_a_live_server`, `tlog::go_judge` |
//! | … on growth over a restart | `real::ledger::go_finds_the_log_before_a_restart_in_the_log_after_it` |
//! | `crypto/hpke` opens our packet | `real::hpke::go_opens_our_packets_of_both_suites_and_openssl_the_layer`, `hpke-xwing::judge` |
//! | tpm2-tools check our quote | `tpm::tools::checkquote_believes_our_quote_and_not_a_replayed_one` |
//!
//! | attack | test |
//! |---|---|
//! | replayed quote; quote over other PCRs | `tpm::refused::a_replayed_quote_and_a_quote_over_other_registers`, `tpm-quote::refused` |
//! | AK of another TPM | `tpm::refused::the_keys_of_another_tpm`, `tpm-quote::refused::the_attestation_key_of_another_tpm` |
//! | node key that is not in the TPM | `tpm::refused::a_node_key_that_is_not_in_this_tpm` |
//! | token used twice | `real::statements::a_token_admits_once_and_only_its_node` |
//! | statement expired, on another connection, `seq` repeated, for another `cnf`, for another request | `real::statements::a_statement_counts_once_on_its_connection_for_its_request_and_its_key`, `evidence::main` |
//! | a banned node's statement | `real::statements::a_banned_node_gets_no_answer_any_more` |
//! | layer swapped; moved under another config; of another image | `real::decoder::forged_images_are_refused_…` (containerd), `images::attacks` (the command), `bailiwick::decode::tests` |
//! | public nonce injected; bit flipped; layer cut | `real::decoder::forged_images_are_refused_…`, `oci-crypt::attacks` |
//! | packet of another authority or suite | `real::decoder::forged_images_are_refused_…`, `oci-crypt::attacks` |
//! | key document of another root or image | `real::hpke::go_opens_our_packets_of_both_suites_and_openssl_the_layer` |
//! | wrong security header | `real::spiffe::go_spiffe_in_a_container_…`, `rpc::spiffe::every_method_wants_the_security_header_exactly_once` |
//! | a container that is not as shipped asks for an identity | `real::spiffe::go_spiffe_in_a_container_…` |
//! | policy that warns, that errs; rule for a person | `real::policy::bad_rules_are_refused_offline_and_by_the_server_and_change_nothing`, `policy::loading` |
//! | kill -9 under load, 100 times: no answer without a leaf, no orphan role | `real::kill::a_hundred_kills_leave_no_answer_without_its_leaf_and_no_orphan_role`, `store::kill` |
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod decoder;
mod hpke;
mod interop_keys;
mod interop_pgp;
mod interop_pkcs11;
mod interop_pkcs7;
mod interop_provider;
mod kill;
mod ledger;
mod matrix;
mod policy;
mod recipients_registry;
mod signed_images;
mod skopeo;
mod spiffe;
mod statements;
