// A stand-in for the AWS provider: it has the real one's schema, and no AWS.
//
// What the schema says is held by the provider's protocol and by OpenTofu: names, types, what is required. An apply
// makes up what AWS would answer, so that every policy and every name that is put together can be read afterwards.
package main

import (
	"log"
	"os"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
)

func main() {
	schema, err := readSchema(os.Getenv("STAND_IN_SCHEMA"))
	if err != nil {
		log.Fatalf("STAND_IN_SCHEMA should name the file that .ci/terraform/schema.py wrote: %s", err)
	}
	serve := func() tfprotov6.ProviderServer { return &provider{schema: schema} }
	if err := tf6server.Serve("registry.opentofu.org/hashicorp/aws", serve); err != nil {
		log.Fatal(err)
	}
}
