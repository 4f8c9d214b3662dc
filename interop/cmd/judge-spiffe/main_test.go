package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const workloadID = "spiffe://prod.example/reader"

func TestAcceptsAWorkloadAPIThatKeepsTheRules(t *testing.T) {
	api := newAPI(t)
	answer, err := judge(api.question(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.X509) != 1 || answer.X509[0].SPIFFEID != workloadID || !answer.X509[0].HasKey {
		t.Fatalf("X.509-SVIDs: %+v", answer.X509)
	}
	if answer.X509[0].Extension == nil || *answer.X509[0].Extension != "6661637473" {
		t.Fatalf("extension: %v", answer.X509[0].Extension)
	}
	if len(answer.JWT) != 1 || !answer.JWT[0].Validated || answer.Bundles.JWT["prod.example"] != 1 {
		t.Fatalf("JWT-SVIDs: %+v, bundles: %+v", answer.JWT, answer.Bundles)
	}
}

func TestRefusesAWorkloadAPIThatBreaksThem(t *testing.T) {
	for name, breakIt := range map[string]func(*api){
		"X.509-SVID of another authority": func(api *api) { api.bundle = newAuthority(t).der },
		"JWT-SVID of another key":         func(api *api) { api.jwks = newAPI(t).jwks },
		"ValidateJWTSVID refuses":         func(api *api) { api.validate = codes.InvalidArgument },
		"expired JWT-SVID":                func(api *api) { api.lifetime = -time.Hour },
		"no X.509-SVID":                   func(api *api) { api.bundle = nil },
	} {
		api := newAPI(t)
		breakIt(api)
		if answer, err := judge(api.question(t)); err == nil {
			t.Errorf("%s: accepted as %+v", name, answer)
		}
	}
	api := newAPI(t)
	question := api.question(t)
	question.SPIFFEID = "spiffe://prod.example/writer"
	if _, err := judge(question); err == nil || !strings.Contains(err.Error(), "writer") {
		t.Errorf("another id: %v", err)
	}
}

// api is a Workload API for one workload.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	leaf, key, bundle, jwks []byte
	signer                  crypto.Signer
	validate                codes.Code
	lifetime                time.Duration
}

func newAPI(t *testing.T) *api {
	authority := newAuthority(t)
	leaf, key := authority.leaf(t)
	jwks := jwtbundle.New(spiffeid.RequireTrustDomainFromString("prod.example"))
	if err := jwks.AddJWTAuthority("k1", authority.key.Public()); err != nil {
		t.Fatal(err)
	}
	encoded, err := jwks.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &api{leaf: leaf, key: key, bundle: authority.der, jwks: encoded, signer: authority.key, lifetime: time.Minute}
}

func (api *api) question(t *testing.T) Question {
	socket := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, api)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return Question{
		Socket: "unix://" + socket, TimeoutSeconds: 5, Audience: "records", SPIFFEID: workloadID,
		Extension: "1.2.840.113556.1.8000.2554.1",
	}
}

func (api *api) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if seen, _ := metadata.FromIncomingContext(stream.Context()); len(seen.Get("workload.spiffe.io")) != 1 {
		return status.Error(codes.InvalidArgument, "security header missing")
	}
	svid := &workload.X509SVID{SpiffeId: workloadID, X509Svid: api.leaf, X509SvidKey: api.key, Bundle: api.bundle}
	return stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{svid}})
}

func (api *api) FetchX509Bundles(_ *workload.X509BundlesRequest, stream workload.SpiffeWorkloadAPI_FetchX509BundlesServer) error {
	return stream.Send(&workload.X509BundlesResponse{Bundles: map[string][]byte{"spiffe://prod.example": api.bundle}})
}

func (api *api) FetchJWTBundles(_ *workload.JWTBundlesRequest, stream workload.SpiffeWorkloadAPI_FetchJWTBundlesServer) error {
	return stream.Send(&workload.JWTBundlesResponse{Bundles: map[string][]byte{"spiffe://prod.example": api.jwks}})
}

func (api *api) FetchJWTSVID(_ context.Context, request *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	key := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: api.signer, KeyID: "k1"}}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	claims := jwt.Claims{Subject: workloadID, Audience: request.Audience, Expiry: jwt.NewNumericDate(time.Now().Add(api.lifetime))}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: workloadID, Svid: token}}}, err
}

func (api *api) ValidateJWTSVID(_ context.Context, request *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	if api.validate != codes.OK {
		return nil, status.Error(api.validate, "refused")
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: workloadID}, nil
}

type authority struct {
	der  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		URIs: []*url.URL{{Scheme: "spiffe", Host: "prod.example"}},
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{der, cert, key}
}

func (authority authority) leaf(t *testing.T) (leaf, pkcs8 []byte) {
	facts := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 840, 113556, 1, 8000, 2554, 1}, Value: []byte("facts")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{facts},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "prod.example", Path: "/reader"}},
	}
	key := newKey(t)
	leaf, err := x509.CreateCertificate(rand.Reader, template, authority.cert, key.Public(), authority.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err = x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return leaf, pkcs8
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
