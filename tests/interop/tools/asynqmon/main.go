// Serves asynqmon on a free port of the loopback address and prints its URL. asynqmon's own command listens on every
// address of the machine; all else is the same.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

func main() {
	server := flag.String("redis-addr", "127.0.0.1:6379", "host:port of the Redis server, or the path of its unix socket")
	nodes := flag.String("redis-cluster-nodes", "", "host:port of nodes of a cluster, separated by commas")
	flag.Parse()

	var redis asynq.RedisConnOpt = asynq.RedisClientOpt{Addr: *server}
	if *nodes != "" {
		redis = asynq.RedisClusterClientOpt{Addrs: strings.Split(*nodes, ",")}
	}
	handler := asynqmon.New(asynqmon.Options{RedisConnOpt: redis})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, handler))
}
