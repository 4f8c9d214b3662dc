//! JWT-SVIDs: what they say, how they are signed and validated.

mod claims;
mod validate;

pub use claims::{ClaimsError, JwtClaims};
pub use validate::{JwtSvid, JwtSvidError, validate_jwt_svid};
