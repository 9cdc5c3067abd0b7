<?php
// Prints what Roundcube makes of the HTML email on stdin. The argument is `images` or `no-images`;
// ROUNDCUBE_CONFIG_DIR has Debian's defaults.inc.php and a config.inc.php.
define('INSTALL_PATH', '/usr/share/roundcube/');
require INSTALL_PATH . 'program/include/clisetup.php';

$rcmail->output = new class {
    public function asset_url($path)
    {
        return $path;
    }
};
// As in program/actions/mail/show.php, for the first part of a message.
$container = ['class' => 'message-htmlpart', 'id' => 'message-htmlpart1'];
$options = [
    'safe' => $argv[1] == 'images',
    'inline_html' => true,
    'css_prefix' => 'v1',
    'body_class' => 'rcmBody',
    'container_id' => $container['id'],
    'container_attrib' => $container,
];
echo html::div($container, rcmail_action_mail_index::wash_html(stream_get_contents(STDIN), $options));
