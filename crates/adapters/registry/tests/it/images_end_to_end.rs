//! Encrypt and decrypt through real places.
