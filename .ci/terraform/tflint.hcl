# The rules about OpenTofu's language that tflint brings with it. It has more about AWS in a plugin, which is not used.
config {
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "all"
}

# Every module is of this repository, so the root's lock says which provider they get.
rule "terraform_standard_module_structure" {
  enabled = false
}
