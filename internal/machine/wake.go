package machine

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"poolpatch/xenapi"
)

// wakePort is that of UDP's discard, which by custom magic packets go to.
const wakePort = 9

// ParseMAC reads the address of a network interface of Ethernet. Errors: INVALID_VALUE.
func ParseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, xenapi.ErrInvalidValue("mac", text)
	}
	return mac, nil
}

// Wake sends the magic packet that has a machine switch itself on, to all on this machine's networks.
func (m *Machine) Wake(mac net.HardwareAddr) error {
	return m.options.Broadcast(magic(mac))
}

// magic is the magic packet of an address.
func magic(mac net.HardwareAddr) []byte {
	return append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac, 16)...)
}

// broadcast sends a packet to every network of this machine's. One that takes it is enough.
func broadcast(packet []byte) error {
	conn, err := net.ListenUDP("udp4", nil) // Go lets every such socket broadcast
	if err != nil {
		return fmt.Errorf("socket for magic packets: %w", err)
	}
	defer conn.Close()
	var errs []error
	to := broadcastAddresses()
	for _, address := range to {
		if _, err := conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(address, wakePort)); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(to) {
		return fmt.Errorf("send magic packets: %w", errors.Join(errs...))
	}
	return nil
}

// broadcastAddresses are those of each network that this machine is on, and the one that stands for the first of them.
func broadcastAddresses() []netip.Addr {
	all := []netip.Addr{netip.AddrFrom4([4]byte{255, 255, 255, 255})}
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagBroadcast == 0 {
			continue
		}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok && network.IP.To4() != nil {
				all = append(all, lastOf(network))
			}
		}
	}
	return all
}

// lastOf is the last address of a network of IPv4, to which all on it listen.
func lastOf(network *net.IPNet) netip.Addr {
	var last [4]byte
	ip, mask := network.IP.To4(), network.Mask[len(network.Mask)-4:]
	for i := range last {
		last[i] = ip[i] | ^mask[i]
	}
	return netip.AddrFrom4(last)
}

// MACOf is the address of the network interface that has an IP address; "" where none has, or it is of no Ethernet.
func MACOf(ip net.IP) string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range interfaces {
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if network, ok := a.(*net.IPNet); ok && network.IP.Equal(ip) && len(i.HardwareAddr) == 6 && i.Flags&net.FlagLoopback == 0 {
				return i.HardwareAddr.String()
			}
		}
	}
	return ""
}

// Outgoing is the address by which this machine reaches the networks beyond its own; nil where there is no way to them. Nothing is sent.
func Outgoing() net.IP {
	conn, err := net.Dial("udp", "192.0.2.1:9") // RFC 5737: an address that nobody has
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP
}
