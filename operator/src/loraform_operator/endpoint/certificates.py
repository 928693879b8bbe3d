"""The operator's own CA and serving certificate: creation and validity checks."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
CA_RENEW_BEFORE = timedelta(days=365)
CLOCK_SKEW = timedelta(minutes=10)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str


def make_ca(now: datetime) -> KeyPair:
    """Create a CA that may only sign leaf certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loraform-operator-ca")])
    usage = _usage(signs_certificates=True)
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    builder = _builder(name, name, key.public_key(), now, CA_LIFE, constraints, usage)
    return _pem(builder.sign(key, hashes.SHA256()), key)


def make_leaf(ca: KeyPair, hosts: list[str], now: datetime) -> KeyPair:
    """Create a server certificate for the DNS names and IP addresses in `hosts`, signed by `ca`."""
    issuer, issuer_key = x509.load_pem_x509_certificate(ca.certificate.encode()), _load_key(ca.key)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loraform-operator")])
    usage = _usage(signs_certificates=False)
    constraints = x509.BasicConstraints(ca=False, path_length=None)
    builder = (
        _builder(name, issuer.subject, key.public_key(), now, LEAF_LIFE, constraints, usage)
        .add_extension(x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return _pem(builder.sign(issuer_key, hashes.SHA256()), key)


def ca_is_good(ca: KeyPair, now: datetime) -> bool:
    """Say whether the CA need not be renewed yet."""
    return _expires(ca) - now > CA_RENEW_BEFORE


def leaf_is_good(leaf: KeyPair, ca: KeyPair, hosts: list[str], now: datetime) -> bool:
    """Say whether the certificate is signed by `ca`, names every host and need not be renewed yet."""
    certificate = x509.load_pem_x509_certificate(leaf.certificate.encode())
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.certificate.encode()))
    except Exception:  # the library raises several types for an invalid signature
        return False
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(map(_general_name, hosts)) <= set(named) and _expires(leaf) - now > RENEW_BEFORE


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
    *extensions: x509.ExtensionType,
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _expires(pair: KeyPair) -> datetime:
    return x509.load_pem_x509_certificate(pair.certificate.encode()).not_valid_after_utc


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the CA's key is not an elliptic-curve key")
    return key
