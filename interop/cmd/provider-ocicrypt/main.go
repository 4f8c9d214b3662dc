// Command provider-ocicrypt is a key provider of ocicrypt for tests: it wraps with one AES key from a file. Without
// `-listen` it answers one question on standard input; with it, it serves gRPC until it is ended.
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/containers/ocicrypt/keywrap/keyprovider"
	pb "github.com/containers/ocicrypt/utils/keyprovider"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// Packet is what stands in the annotation.
type Packet struct {
	// Arguments are those that the packet was made with; they are authenticated.
	Arguments []string `json:"arguments"`
	// Sealed is nonce and ciphertext of AES-256-GCM.
	Sealed []byte `json:"sealed"`
}

// Provider holds the key, and the name by which its callers know it.
type Provider struct {
	pb.UnimplementedKeyProviderServiceServer
	name string
	aead cipher.AEAD
}

func main() {
	name := flag.String("name", "reference", "the provider's name")
	key := flag.String("key", "", "file with a key of 32 bytes")
	listen := flag.String("listen", "", "`ADDRESS`, or unix:PATH; the address in use is printed")
	certificate := flag.String("tls-cert", "", "the server's certificate")
	certificateKey := flag.String("tls-key", "", "its key")
	clients := flag.String("client-ca", "", "the authority of certificates that callers must show")
	flag.Parse()
	if err := run(*name, *key, *listen, *certificate, *certificateKey, *clients); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name, key, listen, certificate, certificateKey, clients string) error {
	provider, err := open(name, key)
	if err != nil {
		return err
	}
	if listen == "" {
		question, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		answer, err := provider.answer(question)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(answer)
		return err
	}
	var options []grpc.ServerOption
	if certificate != "" {
		protection, err := protect(certificate, certificateKey, clients)
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(protection))
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		network, listen = "unix", path
	}
	listener, err := net.Listen(network, listen)
	if err != nil {
		return err
	}
	server := grpc.NewServer(options...)
	pb.RegisterKeyProviderServiceServer(server, provider)
	fmt.Println(listener.Addr())
	return server.Serve(listener)
}

func open(name, file string) (*Provider, error) {
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("the key has %d bytes, not 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &Provider{name: name, aead: aead}, err
}

func protect(certificate, key, clients string) (credentials.TransportCredentials, error) {
	own, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}}
	if clients != "" {
		text, err := os.ReadFile(clients)
		if err != nil {
			return nil, err
		}
		config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("the clients' authority has no certificate")
		}
	}
	return credentials.NewTLS(config), nil
}

// WrapKey is gRPC's way to answer.
func (p *Provider) WrapKey(_ context.Context, in *pb.KeyProviderKeyWrapProtocolInput) (*pb.KeyProviderKeyWrapProtocolOutput, error) {
	return p.serve(in)
}

// UnWrapKey is the other.
func (p *Provider) UnWrapKey(_ context.Context, in *pb.KeyProviderKeyWrapProtocolInput) (*pb.KeyProviderKeyWrapProtocolOutput, error) {
	return p.serve(in)
}

func (p *Provider) serve(in *pb.KeyProviderKeyWrapProtocolInput) (*pb.KeyProviderKeyWrapProtocolOutput, error) {
	answer, err := p.answer(in.GetKeyProviderKeyWrapProtocolInput())
	if err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	return &pb.KeyProviderKeyWrapProtocolOutput{KeyProviderKeyWrapProtocolOutput: answer}, nil
}

func (p *Provider) answer(text []byte) ([]byte, error) {
	var question keyprovider.KeyProviderKeyWrapProtocolInput
	if err := json.Unmarshal(text, &question); err != nil {
		return nil, fmt.Errorf("the question is not understood: %w", err)
	}
	var answer keyprovider.KeyProviderKeyWrapProtocolOutput
	var err error
	switch question.Operation {
	case keyprovider.OpKeyWrap:
		answer.KeyWrapResults.Annotation, err = p.wrap(question.KeyWrapParams)
	case keyprovider.OpKeyUnwrap:
		answer.KeyUnwrapResults.OptsData, err = p.unwrap(question.KeyUnwrapParams)
	default:
		err = fmt.Errorf("unknown operation %q", question.Operation)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

func (p *Provider) wrap(params keyprovider.KeyWrapParams) ([]byte, error) {
	var arguments []string
	for _, argument := range params.Ec.Parameters[p.name] {
		arguments = append(arguments, string(argument))
	}
	if len(arguments) == 0 {
		return nil, fmt.Errorf("nothing is asked of %q", p.name)
	}
	nonce := make([]byte, p.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	sealed := p.aead.Seal(nonce, nonce, params.OptsData, additional(arguments))
	return json.Marshal(Packet{Arguments: arguments, Sealed: sealed})
}

func (p *Provider) unwrap(params keyprovider.KeyUnwrapParams) ([]byte, error) {
	// Whoever asks us must not hand over the keys that it has for others.
	if params.Dc != nil {
		for name := range params.Dc.Parameters {
			if name != p.name {
				return nil, fmt.Errorf("the question holds %q, which is none of ours", name)
			}
		}
	}
	var packet Packet
	if err := json.Unmarshal(params.Annotation, &packet); err != nil {
		return nil, fmt.Errorf("the packet is not understood: %w", err)
	}
	size := p.aead.NonceSize()
	if len(packet.Sealed) < size {
		return nil, errors.New("the packet is too short")
	}
	return p.aead.Open(nil, packet.Sealed[:size], packet.Sealed[size:], additional(packet.Arguments))
}

func additional(arguments []string) []byte {
	// Text marshals always.
	text, _ := json.Marshal(arguments)
	return text
}
