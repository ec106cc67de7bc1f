// Shop is the program in the images of tests: it serves until it is asked to
// end, or, told to die, ends by itself.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	fmt.Println("the shop runs:", os.Args[1:])
	if len(os.Args) > 1 && os.Args[1] == "die" {
		time.Sleep(50 * time.Millisecond)
		fmt.Fprintln(os.Stderr, "negative stock in warehouse 7")
		os.Exit(3)
	}
	if len(os.Args) > 2 && os.Args[1] == "check" { // a health check: it is well while the file is there
		if _, err := os.Stat(os.Args[2]); err != nil {
			fmt.Println("unwell:", err)
			os.Exit(1)
		}
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
