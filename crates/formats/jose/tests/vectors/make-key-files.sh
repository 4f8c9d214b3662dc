#!/bin/sh
# Writes `key-files/`: the keys `p256` and `rsa` of go-jose.json in every container, by OpenSSL 3. Run in this folder.
set -eu
mkdir -p key-files
cd key-files
export PASSWORD='correct horse' OTHER='pässwörd'
for key in p256 rsa; do
  jq -r ".keys.$key.pkcs8" ../go-jose.json >"$key.plain.pem"
  openssl req -x509 -new -key "$key.plain.pem" -subj "/CN=$key" -days 1 -out "$key.certificate.pem"
  openssl x509 -in "$key.certificate.pem" -outform DER -out "$key.certificate.der"
done
pkcs8() { name=$1; shift; openssl pkcs8 -topk8 -passout env:PASSWORD -out "$name" "$@"; }
for prf in hmacWithSHA1 hmacWithSHA256 hmacWithSHA384 hmacWithSHA512; do
  pkcs8 "p256.$prf.pem" -in p256.plain.pem -v2 aes-256-cbc -v2prf $prf
done
for cipher in aes-128-cbc aes-192-cbc des-ede3-cbc; do
  pkcs8 "p256.$cipher.pem" -in p256.plain.pem -v2 $cipher
done
pkcs8 p256.pbkdf2.der -in p256.plain.pem -outform DER
pkcs8 p256.scrypt.der -in p256.plain.pem -outform DER -scrypt -scrypt_N 1024
pkcs8 p256.scrypt.pem -in p256.plain.pem -scrypt
pkcs8 rsa.aes-256-cbc.pem -in rsa.plain.pem -v2 aes-256-cbc
openssl pkcs8 -topk8 -in p256.plain.pem -passout env:OTHER -out p256.umlauts.pem
for cipher in aes128 aes192 aes256 des3; do
  openssl ec -in p256.plain.pem -"$cipher" -passout env:PASSWORD -out "p256.old-$cipher.pem"
done
openssl rsa -in rsa.plain.pem -traditional -aes256 -passout env:PASSWORD -out rsa.old-aes256.pem
openssl rsa -in rsa.plain.pem -RSAPublicKey_out -out rsa.pkcs1-public.pem
openssl rsa -in rsa.plain.pem -RSAPublicKey_out -outform DER -out rsa.pkcs1-public.der
# What is refused, with a reason.
pkcs8 refused.pbes1.pem -in p256.plain.pem -v1 PBE-SHA1-3DES
pkcs8 refused.camellia.pem -in p256.plain.pem -v2 camellia-128-cbc
pkcs8 refused.iterations.pem -in p256.plain.pem -iter 10000001
openssl ec -in p256.plain.pem -camellia128 -passout env:PASSWORD -out refused.old-camellia.pem
openssl genpkey -algorithm X25519 -out refused.x25519.pem
openssl pkey -in refused.x25519.pem -pubout -out refused.x25519-public.pem
openssl genpkey -algorithm ED25519 -out refused.ed25519.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out refused.secp256k1.pem
openssl pkey -in refused.secp256k1.pem -pubout -out refused.secp256k1-public.pem
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out refused.rsa1024.pem
openssl pkcs12 -export -inkey p256.plain.pem -in p256.certificate.pem -passout env:PASSWORD -out refused.pkcs12.der
rm p256.plain.pem rsa.plain.pem
chmod 644 *
