package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// names is what the lab's DNS answers: defaults given at start, and overrides that tests set and clear.
type names struct {
	mu        sync.Mutex
	defaults  map[string]*answers
	overrides map[string]*answers
	log       *jsonLog
}

// answers are the address sets of one name. Each query of a type gets the next set, the last one repeats; a plain
// record is a sequence of one.
type answers struct {
	sets []([]netip.Addr)
	ttl  uint32
	next map[uint16]int
}

type dnsSighting struct {
	TimeMs    int64    `json:"time_ms"`
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Transport string   `json:"transport"`
	Source    string   `json:"source"`
	Rcode     string   `json:"rcode"`
	Answer    []string `json:"answer"`
}

// parseSet reads "ADDR,ADDR"; "-" and "" are the empty set: the name exists, without addresses.
func parseSet(text string) (set []netip.Addr, err error) {
	if text == "-" || text == "" {
		return nil, nil
	}
	for _, part := range strings.Split(text, ",") {
		address, err := netip.ParseAddr(part)
		if err != nil {
			return nil, err
		}
		set = append(set, address)
	}
	return set, nil
}

func newAnswers(ttl uint32, texts ...string) (*answers, error) {
	a := &answers{ttl: ttl, next: map[uint16]int{}}
	for _, text := range texts {
		set, err := parseSet(text)
		if err != nil {
			return nil, err
		}
		a.sets = append(a.sets, set)
	}
	return a, nil
}

func (n *names) find(name string) *answers {
	_, parent, _ := strings.Cut(name, ".")
	for _, table := range []map[string]*answers{n.overrides, n.defaults} {
		for _, key := range []string{name, "*." + parent} {
			if found := table[key]; found != nil {
				return found
			}
		}
	}
	return nil
}

func (n *names) lookup(q question) (rcode byte, addresses []netip.Addr, ttl uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.find(q.name)
	if found == nil {
		return rcodeNXDomain, nil, 5
	}
	set := found.sets[min(found.next[q.qtype], len(found.sets)-1)]
	found.next[q.qtype]++
	for _, address := range set {
		if q.qtype == typeA && address.Is4() || q.qtype == typeAAAA && address.Is6() {
			addresses = append(addresses, address)
		}
	}
	return rcodeOK, addresses, found.ttl
}

func (n *names) answer(query []byte, transport, source string) []byte {
	q, err := parseQuestion(query)
	if err != nil {
		return nil
	}
	rcode, addresses, ttl := n.lookup(q)
	line := dnsSighting{TimeMs: nowMs(), Name: q.name, Type: fmt.Sprint(q.qtype), Transport: transport, Answer: []string{},
		Rcode: map[byte]string{rcodeOK: "NOERROR", rcodeNXDomain: "NXDOMAIN"}[rcode]}
	if known := map[uint16]string{typeA: "A", typeAAAA: "AAAA"}[q.qtype]; known != "" {
		line.Type = known
	}
	_, line.Source, _ = peer(source)
	for _, address := range addresses {
		line.Answer = append(line.Answer, address.String())
	}
	n.log.write(line)
	return reply(query, q, rcode, addresses, ttl, transport == "udp")
}

// serve answers on one address, over UDP and TCP. Never on a wildcard address: an answer must come from the address
// that was asked.
func (n *names) serve(address string, failed chan<- error) error {
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 4096)
		for {
			size, from, err := packets.ReadFrom(buffer)
			if err != nil {
				failed <- err
				return
			}
			if out := n.answer(buffer[:size], "udp", from.String()); out != nil {
				if _, err := packets.WriteTo(out, from); err != nil {
					log.Print(err)
				}
			}
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				failed <- err
				return
			}
			go n.serveTCP(conn)
		}
	}()
	return nil
}

func (n *names) serveTCP(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var size [2]byte
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		out := n.answer(query, "tcp", conn.RemoteAddr().String())
		if out == nil {
			return
		}
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	}
}
