// Asks for an echo with text and bytes, joins a room, and says what it is given: talker URL.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/zishang520/socket.io/clients/engine/v3/transports"
	"github.com/zishang520/socket.io/clients/socket/v3"
	"github.com/zishang520/socket.io/v3/pkg/types"
)

func text(values []any) string {
	found := make([]string, len(values))
	for n, value := range values {
		switch one := value.(type) {
		case interface{ Bytes() []byte }:
			found[n] = base64.StdEncoding.EncodeToString(one.Bytes())
		default:
			found[n] = fmt.Sprint(one)
		}
	}
	return strings.Join(found, " ")
}

func main() {
	data := make([]byte, 300)
	for n := range data {
		data[n] = byte(n)
	}
	options := socket.DefaultOptions()
	options.SetTransports(types.NewSet(transports.WebSocket))
	options.SetAutoConnect(false)
	client, err := socket.Connect(os.Args[1], options)
	if err != nil {
		panic(err)
	}
	said := make(chan string, 10)
	client.On("connect_error", func(what ...any) { said <- "refused " + text(what) })
	client.On("news", func(what ...any) { said <- "news " + text(what) })
	client.Once("connect", func(...any) {
		client.EmitWithAck("back", "hé", 7, data)(func(answer []any, _ error) {
			said <- "echo " + text(answer)
			client.EmitWithAck("join", "go")(func([]any, error) { client.Emit("say", "go", "news", "hé", data) })
		})
	})
	client.Connect()
	for range 2 {
		select {
		case line := <-said:
			fmt.Println(line)
		case <-time.After(20 * time.Second):
			fmt.Println("nothing came")
		}
	}
	client.Disconnect()
}
