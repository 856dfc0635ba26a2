package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// The few bytes of DNS that an authoritative server for A and AAAA needs.

const (
	typeA, typeSOA, typeAAAA, typeOPT = 1, 6, 28, 41
	rcodeOK, rcodeNXDomain            = 0, 3
)

type question struct {
	name    string // lower case, without the final dot
	qtype   uint16
	end     int // where the question ends in the message
	maxSize int // of a UDP answer
}

func parseQuestion(message []byte) (question, error) {
	bad := errors.New("malformed query")
	if len(message) < 12 || binary.BigEndian.Uint16(message[4:]) != 1 {
		return question{}, bad
	}
	var labels []string
	at := 12
	for {
		if at >= len(message) || message[at] > 63 {
			return question{}, bad
		}
		length := int(message[at])
		at++
		if length == 0 {
			break
		}
		if at+length > len(message) {
			return question{}, bad
		}
		labels = append(labels, strings.ToLower(string(message[at:at+length])))
		at += length
	}
	if at+4 > len(message) {
		return question{}, bad
	}
	q := question{name: strings.Join(labels, "."), qtype: binary.BigEndian.Uint16(message[at:]), end: at + 4, maxSize: 512}
	// EDNS: the client says how large a UDP answer may be
	if rest := message[q.end:]; len(rest) >= 5 && rest[0] == 0 && binary.BigEndian.Uint16(rest[1:]) == typeOPT {
		q.maxSize = max(512, int(binary.BigEndian.Uint16(rest[3:])))
	}
	return q, nil
}

// reply builds the answer to a query: addresses of the type asked, or a negative answer with an SOA, so that caches
// keep "no" for as long as they would keep "yes".
func reply(query []byte, q question, rcode byte, addresses []netip.Addr, ttl uint32, overUDP bool) []byte {
	out := append([]byte{}, query[:q.end]...)
	out[2], out[3] = 0x84|query[2]&1, 0x80|rcode // response, authoritative, recursion available
	clear(out[6:12])
	record := func(kind uint16, data []byte) {
		out = append(out, 0xc0, 12) // the name of the question
		out = binary.BigEndian.AppendUint16(out, kind)
		out = binary.BigEndian.AppendUint16(out, 1)
		out = binary.BigEndian.AppendUint32(out, ttl)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	for _, address := range addresses {
		record(q.qtype, address.AsSlice())
	}
	binary.BigEndian.PutUint16(out[6:], uint16(len(addresses)))
	if len(addresses) == 0 {
		soa := append([]byte("\x02ns\x04test\x00\x05admin\x04test\x00"), make([]byte, 16)...)
		record(typeSOA, binary.BigEndian.AppendUint32(soa, ttl))
		binary.BigEndian.PutUint16(out[8:], 1)
	}
	if overUDP && len(out) > q.maxSize { // truncated: the client asks again over TCP
		out = out[:q.end]
		out[2] |= 2
		clear(out[6:12])
	}
	return out
}
